"""The frozen values that pass between stages. They hold data and derive nothing heavy from it."""
