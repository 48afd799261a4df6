from models.frequency import Frequency


def example(world, seed):
    return Frequency()
