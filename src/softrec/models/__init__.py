"""The models: encoders, one per file, and counted models in `counted`."""

from softrec.models.bsarec import BSARec
from softrec.models.caser import Caser
from softrec.models.comirec import ComiRecSA
from softrec.models.comirec_dr import ComiRecDR
from softrec.models.counted.ease import EASE
from softrec.models.counted.item_knn import ItemKNN
from softrec.models.counted.markov import Markov
from softrec.models.counted.markov_rp3beta import MarkovRP3Beta
from softrec.models.counted.popularity import Popularity, RecentPopularity
from softrec.models.counted.rp3beta import RP3Beta
from softrec.models.counted.rp3beta_popularity import RP3BetaPopularity
from softrec.models.counted.session_knn import SessionKNN
from softrec.models.deepfm import DeepFM
from softrec.models.esasrec import ESASRec
from softrec.models.gru4rec import GRU4Rec
from softrec.models.histories import HistoryEncoder, ItemTable, OutputLayer
from softrec.models.hstu import HSTU, TimedHSTU
from softrec.models.lightgcn import LightGCN
from softrec.models.mf import MF
from softrec.models.mind import MIND
from softrec.models.nfm import NFM
from softrec.models.ngcf import NGCF
from softrec.models.registry import MODELS
from softrec.models.sasrec import SASRec
from softrec.models.timirec import TiMiRec
from softrec.models.tisasrec import TiSASRec
from softrec.models.users import UserEncoder
from softrec.models.youtubednn import YoutubeDNN

__all__ = [
    "EASE",
    "HSTU",
    "MF",
    "MIND",
    "MODELS",
    "NFM",
    "NGCF",
    "BSARec",
    "Caser",
    "ComiRecDR",
    "ComiRecSA",
    "DeepFM",
    "ESASRec",
    "GRU4Rec",
    "HistoryEncoder",
    "ItemKNN",
    "ItemTable",
    "LightGCN",
    "Markov",
    "MarkovRP3Beta",
    "OutputLayer",
    "Popularity",
    "RP3Beta",
    "RP3BetaPopularity",
    "RecentPopularity",
    "SASRec",
    "SessionKNN",
    "TiMiRec",
    "TiSASRec",
    "TimedHSTU",
    "UserEncoder",
    "YoutubeDNN",
]
