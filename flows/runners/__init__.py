"""What runs the steps: threads, processes, Dask or Ray, the GPU slot, and what is done when a worker dies."""
