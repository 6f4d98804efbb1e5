"""Client of the Cometbox gateway: open a mailbox and iterate over its messages, or publish."""
from .errors import *
from .http import Options as Options
from .mailbox import Mailbox as Mailbox, Message as Message, open as open, resume as resume
from .publisher import Publisher as Publisher, Result as Result, item as item, publish_sync as publish_sync
