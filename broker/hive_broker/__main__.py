"""`hive-broker --root DIR`."""

import gc

from .lean import lean_imports

gc.disable()  # nothing of what is imported is garbage; the daemon enables it when all is loaded
with lean_imports():
    from .daemon import main

if __name__ == "__main__":
    main()
