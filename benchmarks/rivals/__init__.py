"""The walk engines that phew is compared with, and the graphs that these take."""
