"""The handlers of the routes: `similar` for queries, `items` for the catalog, `admin` for the server and its page."""
