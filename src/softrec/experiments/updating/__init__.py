"""Updates: a run that goes on with new events, and the gate that judges it on the newest ones."""
