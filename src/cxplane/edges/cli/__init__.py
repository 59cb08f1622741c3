"""The command line. Modules of commands are imported when their command is called."""
