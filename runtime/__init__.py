"""Running programs: the program file, devices, the driver, sessions and the command line."""
