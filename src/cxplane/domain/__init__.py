"""The words of cxplane: frozen types that check themselves, and no input or output."""
