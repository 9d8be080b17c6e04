"""`lrelu-bench export`: finished runs, written as other trackers write theirs."""
