# What must not be in the closure of a program: each process has what it needs and no more.
{
  # Runs in every agent's container: the standard library and nothing else.
  harness = [
    "aiohttp"
    "mcp"
    "pydantic"
    "pygit2"
  ];
  broker = [
    "aiohttp"
    "hive-harness"
    "hive-reconciler"
    "pygit2"
  ];
  gateway = [
    "hive-reconciler"
    "mcp"
    "pygit2"
  ];
  dashboard = [
    "hive-reconciler"
    "mcp"
    "pygit2"
  ];
  reconciler = [
    "aiohttp"
    "hive-harness"
  ];
}
