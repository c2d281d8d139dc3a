"""What should run where: policies, forecasts, the optimiser, proposals and schedules."""
