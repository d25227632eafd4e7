"""One or more pretended GPUs for a torch without CUDA, so that the code for GPUs runs in tests on any machine.

    python -m support.pretended_gpu stages.train     # from a folder with the pipeline's files; PYTHONPATH has `tests`

Their tensors are in the host's memory, and the CPU's kernels compute them. What a GPU refuses is refused: tensors of
two devices in one operation, indices on another device, more memory than there is, a GPU that CUDA_VISIBLE_DEVICES
hides, use in a forked process. Autocast, GradScaler and pinned memory follow CUDA's own rules; `torch.cuda` is torch's
own code above a few functions.

PRETENDED_GPUS           how many the machine has (1)
PRETENDED_GPU_BYTES      memory of each (16e9)
PRETENDED_GPU_CAPABILITY the CUDA capability (8.0; bf16 needs 8.0)

What they cannot show:
- streams: all work is done at once, so a missing synchronization is not seen, nor is what waits for the GPU;
- how CUDA's kernels round, and whether they are deterministic: results are those of the CPU's kernels;
- kernels that only CUDA has, such as fused attention, and dtypes or sizes that only CUDA's kernels refuse;
- NCCL, and so several processes that train one model;
- the numbers that CUDA draws: each GPU has a random state of its own, but of the CPU's kind;
- the allocator: memory is what tensors hold, without rounding and fragments, and without what kernels need meanwhile.

`make test-gpu` runs the same tests on a real GPU.
"""
