// A pool of threads that share the tasks of one job.
#ifndef CHARLOOM_THREADS_H
#define CHARLOOM_THREADS_H

#define MOST_THREADS 256

typedef void Task(void *job, int index, int thread);

// Calls task(job, index, thread) for each index below `tasks`, in up to `threads` threads, this one included; returns when all have ended.
// Tasks that run at the same time have different numbers `thread`, below `threads`: for room that is used again. Which thread runs a task,
// and in which order, is left to chance, so results may depend on the index alone. If another job is running, or no thread can be started,
// this thread does all of it.
void run_tasks(int threads, int tasks, Task *task, void *job);

#endif
