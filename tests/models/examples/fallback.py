from models.fallback import Fallback
from models.frequency import Frequency
from models.popularity import Popularity


def example(world, seed):
    return Fallback(Frequency(), Popularity())
