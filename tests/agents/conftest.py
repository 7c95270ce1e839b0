import torch

torch.set_num_threads(
    1
)  # small networks; two threads that wait for busy cores are many times slower
