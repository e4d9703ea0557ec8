"""The part of nemotron-lineage that knows frameworks: W&B, checkpoint hooks, executors."""
