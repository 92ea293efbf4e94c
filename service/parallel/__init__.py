"""Training with several processes: the forms of `model.group.Group`.

- `service.parallel.processes`: processes on this machine, over shared memory
- `service.parallel.ranks`: processes on any machines, over MPI; `service.parallel.mpi` is what they are started with
"""
