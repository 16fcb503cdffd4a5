"""What people see of a run: the screen, the report and its charts."""
