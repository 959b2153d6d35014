"""sessionctl: the operations CLI for the session stores of the OpenAI Agents SDK."""

__version__ = "0.1.0"
