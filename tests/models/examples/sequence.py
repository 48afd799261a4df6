from models.sequence import SequenceConfig, SequenceModel


def example(world, seed):
    config = SequenceConfig(width=8, epochs=2, negatives=8, length=10)
    return SequenceModel.learn(world.purchases, config, seed)
