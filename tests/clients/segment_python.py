from python_calls import send
from segment.analytics.client import Client

send(Client)
