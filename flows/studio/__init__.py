"""A studio's Prefect server: seasons by the clock, what it does by itself about runs in trouble, who is told."""
