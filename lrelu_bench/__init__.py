"""lrelu-bench: does a learned ReLU beat the Imagenette/Imagewoof leaderboard, and how sure are we?"""

__version__ = "0.1.0"
