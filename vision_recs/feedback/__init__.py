"""Learning from what shoppers do: answers that explore safely, a log of events, a model, and what it brings.

answers      answers as functions: ids that can be checked, and all that is random
exploration  one open place of an answer shows one other item, with a closed formula for every probability
"""
