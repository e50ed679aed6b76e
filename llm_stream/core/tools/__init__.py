"""Tools: Python functions that the model may call. `tool` describes one, `toolbox` has those of an app, `run` calls
them, and `approvals` signs the calls that a reader must approve."""
