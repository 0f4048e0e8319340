"""A disk that needs 10 ms for everything: what Python starts with, before anything of ours. For tests whose result may not depend
on the disk of the machine."""

import os
import time

SECONDS = 0.01


def slowly(function):
    def slow(fd):
        function(fd)
        time.sleep(SECONDS)

    return slow


os.fsync, os.fdatasync = slowly(os.fsync), slowly(os.fdatasync)
