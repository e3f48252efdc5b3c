"""A program that leaves a daemon behind: forked twice, a session of its own, every descriptor closed.

``daemon.py FILE``: the daemon's pid stands in FILE before this program ends. Standard library only.
"""

import os
import sys
import time

reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    with open(sys.argv[1] + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.replace(sys.argv[1] + ".new", sys.argv[1])
    os.chdir("/")
    os.closerange(0, 1024)  # the pipe too, which tells our parent
    while True:
        time.sleep(600)
os.close(writing)
os.wait()
os.read(reading, 1)
