"""One module a resource. An endpoint reads the request, calls one service and returns its view."""
