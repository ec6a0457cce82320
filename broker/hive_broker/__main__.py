"""`hive-broker --root DIR`."""

from .lean import lean_imports

with lean_imports():
    from .daemon import main

if __name__ == "__main__":
    main()
