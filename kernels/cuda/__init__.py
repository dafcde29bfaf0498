"""The CUDA versions of the kernels: NAME.cu and its launch, NAME.py, which agrees with mattemill.kernels.

One launch code serves two drivers: pycuda on a GPU, and a CPU driver that runs the same .cu files, compiled by g++ with
on_cpu.h, one fiber a CUDA thread. The CPU driver is there to prove the kernels where there is no GPU; it is slow.
"""
