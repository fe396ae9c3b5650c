"""Tables of time series: reading, windows, the model, forecasts and their measures."""
