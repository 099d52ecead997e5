"""What rules may ask of a chart: each fact with its name, its value and its evidence."""
