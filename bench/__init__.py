"""Benchmarks: kernels and whole flows beside other programs and the machine's own limits, and their input.

`python -m bench` runs them; `python -m bench.corpus` writes the captures they read, under `bench/data/`.
"""
