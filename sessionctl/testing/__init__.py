"""The contract suite every store adapter must pass, shipped so that adapter authors inherit it."""
