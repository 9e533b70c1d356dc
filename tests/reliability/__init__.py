"""Full-size reliability checks of a real server: ``python -m tests.reliability --help``. Not collected by pytest."""
