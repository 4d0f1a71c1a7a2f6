"""What `benchmarks/embed.py` consists of: images, models, and the processes that hold one contestant each."""
