"""The configurations that come with the package; `fgexpo fit --config tiny` finds them by name."""
