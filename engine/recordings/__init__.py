"""What becomes of recordings once they are over: their record, their place in the store, encryption, storage elsewhere, retention."""
