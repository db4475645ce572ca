"""Train a sequence model: python train.py model=manual_rnn task=adding. All choices: python train.py --help"""

from seqmodels.commands.train import main

if __name__ == "__main__":
    main()
