"""Reading, writing and checking the files that Lacuna's stages and models exchange.

A model author needs two names, both here::

    from lacuna_contract import NotApplicable, model
"""

from lacuna_contract.errors import ContractError, NotApplicable, need_memory

__version__ = "0.1.0"
__all__ = ["ContractError", "NotApplicable", "model", "need_memory"]


def __getattr__(name: str):
    # It pulls in numpy and scipy; the supervisor, which imports this package too, must not.
    if name == "model":
        from lacuna_contract.authoring import model

        return model
    raise AttributeError(f"module 'lacuna_contract' has no attribute '{name}'")
