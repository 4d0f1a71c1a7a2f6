"""The handlers of the routes.

similar   queries; `for_you` those for a shopper
items     the catalog
events    of shoppers
admin     the server and its page
"""
