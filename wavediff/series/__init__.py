"""Time series: reading tables, windows, the model, forecasts, imputation, synthesis, metrics."""
