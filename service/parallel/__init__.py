"""Training with several processes: the forms of `model.group.Group`.

- `service.parallel.processes`: processes on this machine, over shared memory
- `service.parallel.mpi`: processes on any machines, over MPI
"""
