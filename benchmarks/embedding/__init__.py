"""What `benchmarks/embed.py` consists of: pictures, models, and the processes that hold one contestant each."""
