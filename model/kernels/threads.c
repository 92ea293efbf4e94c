// A pool of threads that share the tasks of one job. See threads.h.
//
// The threads are started when they are first needed and sleep between jobs. A job is offered to all of them; each takes the next task until
// none is left. One job at a time: a second one, of another Python thread, is run by its own thread, which changes no bit.
#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

typedef struct {
    Task *task;
    void *job;
    int tasks;
    atomic_int next;  // the first task that no thread has taken
} Job;

static pthread_mutex_t in_use = PTHREAD_MUTEX_INITIALIZER;  // held by the thread whose job is running
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;    // guards what follows
static pthread_cond_t offered = PTHREAD_COND_INITIALIZER, ended = PTHREAD_COND_INITIALIZER;
static Job *current;       // the job that threads may join
static unsigned number;    // of the job, so that no thread joins it twice
static int places;         // threads that may still join it
static int helping;        // threads that have joined it and not ended
static int started;        // threads in the pool

static void work_on(Job *job, int thread) {
    for (;;) {
        const int index = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (index >= job->tasks) return;
        job->task(job->job, index, thread);
    }
}

static void *thread_main(void *nothing) {
    unsigned last = 0;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!current || !places || number == last) pthread_cond_wait(&offered, &lock);
        Job *job = current;
        const int thread = places--;
        last = number;
        helping++;
        pthread_mutex_unlock(&lock);
        work_on(job, thread);
        pthread_mutex_lock(&lock);
        if (--helping == 0) pthread_cond_signal(&ended);
    }
    return nothing;
}

// After fork, the child has none of the threads.
static void forget_threads(void) {
    pthread_mutex_init(&in_use, NULL);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&offered, NULL);
    pthread_cond_init(&ended, NULL);
    current = NULL;
    places = helping = started = 0;
}

static void register_fork_handler(void) { pthread_atfork(NULL, NULL, forget_threads); }

// Starts threads until there are `wanted`; called with the lock.
static void start_threads(int wanted) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_fork_handler);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for Python's own threads
    for (pthread_t thread; started < wanted && !pthread_create(&thread, NULL, thread_main, NULL); started++) pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void run_tasks(int threads, int tasks, Task *task, void *data) {
    Job job = {task, data, tasks, 0};
    int others = (threads < tasks ? threads : tasks) - 1;
    if (others >= MOST_THREADS) others = MOST_THREADS - 1;
    if (others < 1 || pthread_mutex_trylock(&in_use)) {
        work_on(&job, 0);
        return;
    }
    pthread_mutex_lock(&lock);
    start_threads(others);
    current = &job;
    number++;
    places = others;
    pthread_cond_broadcast(&offered);
    pthread_mutex_unlock(&lock);
    work_on(&job, 0);
    pthread_mutex_lock(&lock);
    current = NULL;
    while (helping) pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&in_use);
}
