"""Long jobs: their progress, and what happens when a worker is lost."""
