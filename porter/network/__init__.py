"""How a workload keeps its address wherever it runs."""
