//! Messages that others made, to test against.

extern crate std;

use std::vec::Vec;

use ipsec_core::crypto::{Encr, Integ, PrfId, Suite};

/// All messages of one ISAKMP SA between two strongSwan 5.9.8 (Debian's charon-systemd), and what charon's own log shows of
/// its keys at level 4. Moon begins; the pre-shared key is always [`PSK`].
pub(crate) struct Conversation {
    /// What it is.
    pub(crate) what: &'static str,
    /// The cipher of phase 1 and the bits of its key, 0 where there is only one size.
    pub(crate) cipher: (Encr, u16),
    /// The pseudo-random function of phase 1.
    pub(crate) prf: PrfId,
    /// SKEYID, SKEYID_d, SKEYID_a, the key of the cipher, the first initialization vector.
    pub(crate) keys: [&'static str; 5],
    /// The shared secret of phase 1, and that of Quick Mode if it has one.
    pub(crate) secrets: [&'static str; 2],
    /// What Quick Mode chose.
    pub(crate) suite: Suite,
    /// Keys of the SA that moon sends on, and of the other: encryption, with salt, then integrity.
    pub(crate) child: [&'static str; 2],
    /// The messages in order, without a non-ESP marker.
    pub(crate) said: &'static [Said],
}

/// One message.
pub(crate) struct Said {
    /// As it was sent.
    datagram: &'static str,
    /// What follows the header, decrypted, with its padding; empty if it was in the clear.
    plain: &'static str,
}

impl Said {
    /// The message as it was sent.
    pub(crate) fn datagram(&self) -> Vec<u8> {
        bytes(self.datagram)
    }

    /// What follows the header, decrypted, with its padding; empty if it was in the clear.
    pub(crate) fn plain(&self) -> Vec<u8> {
        bytes(self.plain)
    }
}

/// Bytes from hexadecimal digits.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let digit = |c: &u8| u8::try_from(char::from(*c).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

/// The pre-shared key of both.
pub(crate) const PSK: &[u8] = b"a pre-shared key of the two";

/// The conversations.
pub(crate) const CONVERSATIONS: &[Conversation] = &[
    Conversation {
        what: "Main Mode with AES-256 and SHA-1, whose key is longer than SKEYID_e",
        cipher: (Encr::AES_CBC, 256),
        prf: PrfId::HMAC_SHA1,
        keys: [
            "5b39a24961631e43c1afbaf82131628bf277b9b3",
            "40011aed5d925c07235289211985ae7fc9b641ca",
            "35406da474fd0e1196ff47e7c52bd3f5a8e763bf",
            "57f3d3996632cd6fce2edf9951e4abb6258eac1932b4ef9db95d2e674c34901c",
            "99443c3f1b872a056675f3a65a2aeb7f",
        ],
        secrets: [
            "95c424ea135b742b393142853540f2c1e5f60d5a4802cd7afcccfe3b3c45b2fc562cabd7d21df780\
             141f798a308e6902ed1cd7d065d30892c9bd85023313c4d0ed8750a7ec6d7639658d312c26b88ed5\
             a414f16d606e826dd43cd71c679b3195a4102e0e51e74b93b64d9f6f4321177fd4a173c05abef273\
             f521fa023278f19934599d5945f14e6802ed748895d278d3c2f2c33d0ccb212595c2dc4c291d5119\
             bb5a2d6ed3b6adbd587a1e8cc90aada06dbafb8bd913e01a241d5c714f65f6b922059fb12f1120b0\
             821be91411315ec3e9566fc8efe16ef0a377b8f5ec657cc98a7163cbd7f44f75850f3bb436c0b760\
             361660287be5dae0473e72a23e9e17ab",
            "",
        ],
        suite: Suite::AES_128_CBC_SHA256,
        child: [
            "e47fd1cb83b5065d4df1f66e312ddc5836eedfe1baa9240b94390b960736f395c75ede7d97a38413\
             56ade07d189cd391",
            "c58c5f2c3353e758bbfa80f6b83a44f5ad99587870dd099d36ee64d192d29d082975493655e65209\
             33c8d62128844c15",
        ],
        said: &[
            Said {
                datagram: "15df3ae80e2936ce00000000000000000110020000000000000000b40d0000380000000100000001\
                           0000002c01010001000000240101000080010007800e0100800200028004000e80030001800b0001\
                           800c3de00d00000c09002689dfd6b7120d000014afcad71368a1f1c96b8696fc775701000d000018\
                           4048b7d56ebce88525e7de7f00d6c2d3800000000d0000144a131c81070358455c5728f20e95452f\
                           0000001490cb80913ebb696e086381b5ec427b1f",
                plain: "",
            },
            Said {
                datagram: "15df3ae80e2936ce46eba6989551bb030110020000000000000000a00d0000380000000100000001\
                           0000002c01010001000000240101000080010007800e0100800200028004000e80030001800b0001\
                           800c3de00d00000c09002689dfd6b7120d000014afcad71368a1f1c96b8696fc775701000d000018\
                           4048b7d56ebce88525e7de7f00d6c2d380000000000000144a131c81070358455c5728f20e95452f",
                plain: "",
            },
            Said {
                datagram: "15df3ae80e2936ce46eba6989551bb030410020000000000000001740a0001043eda64c5e2dd9d56\
                           fcef4ea0a82150adc1910a0f2e95d1dc96e96a496a58a3b5c9e420de7f0b2cc34b19979115e15644\
                           d7e842f6e3216e659f3610b7c20649f4deb17fb12d98ff1bc5f9e94db6f4144dbab1a0f894290a3b\
                           8f63d940bdcc773cff623925a99d787308ea689fd17005f4171bdcc546278c9c7402f79493ac5ada\
                           56abd1ef625a7ac566dd2ecbb36322024aee2666bb5bd37391ed222b0e60bc339e0699cbdc6e56a9\
                           43cab55ebb844f5ca9ef3548cdddd3263212a9964626d4b62112e3f391e5da1eaf70505aec050cce\
                           6e49716082dedff76fd98ff4d00bae3cc3cf4cd47d8ffe2b396d61c261bbc1faaa995492d64af466\
                           e3bab23af1006b36140000244267c2dce4ae88cbebdeacd1e844eeae27e286df74480c4fb6c88871\
                           34c90f6c140000185d33260ab04d489731cac20b3ea3d6b5b3849d670000001870bc56a79b7e0448\
                           d7e692063d48d844085f93c5",
                plain: "",
            },
            Said {
                datagram: "15df3ae80e2936ce46eba6989551bb030410020000000000000001740a000104d6fa8d878b42a770\
                           f76863df8fcc3dd750932826438369e9c7d3d11b8495cef3a0df268c278eb65931bc6753d34cfb5f\
                           9fd1751de368f389c98b559af996ba5544ae323a3656cfb0dd4299fd8fc6babdd77c37b83933cdfc\
                           01a4d070a56eac0d913d48eb3b87070421084d981723e1fd3d3515514bd64a649208b8638a922f33\
                           7bd8df2f2cf74c908cdebc1851da49d0920988889abe0a7172e52785b7ab693fd7da9344679fd251\
                           f9a0bffbcc2c00ce98c9ae1cce105cdcaeb79529a39e7ed4f9c1185350b9366a308589f957474aea\
                           3686c30cff05f807700b9ff9c40d42ceca101558aaf8d122d3d0931fd4bb3b99b4b6f1b1dca54a24\
                           e45aec7fdf0f0d5214000024457e13171122655c624dfafeb110a26f704610f96ae63b443fc0dc5a\
                           3d5f15a41400001812865f9bc9cff94e890b0911d6f4a01ae27eab1300000018680d20d4f4c3acfd\
                           a402c43800933540ddb892fe",
                plain: "",
            },
            Said {
                datagram: "15df3ae80e2936ce46eba6989551bb0305100201000000000000006cc1299a3bef34b598cd02b4f6\
                           15131015139b39b9ca3639dac007cae867f970fe5d1af88f15da4510403e6d47264f74dc2fbcc9de\
                           8fc8abacff103f18be35546c6ee7c373d588e18605a550efa055c7f8",
                plain: "08000014020000006d6f6f6e2e6578616d706c650b0000182a717384856806f60ae77479c5878b89\
                        91f9ee3a0000001c000000010110600215df3ae80e2936ce46eba6989551bb030000000000000000",
            },
            Said {
                datagram: "15df3ae80e2936ce46eba6989551bb0305100201000000000000004c901e5cbdb33d0d3ac28f3bc8\
                           d748783f73ee4a71b3f1c805c8ab1252dd6ec01405a2e9437ae6c9d32dde66629481ceb8",
                plain: "080000130200000073756e2e6578616d706c65000000189a22da661e773e197c6143ec2df756142b\
                        24f2350000000000",
            },
            Said {
                datagram: "15df3ae80e2936ce46eba6989551bb030810200124621f86000000bc59adfbf8e0d0427297010195\
                           bf224f9914c51b18936bb47a38584e828054f76af9cca0ed90590f6839d659709dc4b0a89290083e\
                           b47bd1016d7b6bcc5533847c133d65fde9bb9168fb7510da3a51b3d2fc968682520848aef3254bdb\
                           6409a8a8ed01d3ddeb3c1a077af47c744560dd28274798275ac211853cc3bd8f0e7bf23d194ae99b\
                           bd502f0a66304f1cb283e767878128f7c42146ee850ba17c485667ca",
                plain: "010000189b743801357465a407c258e17e6889f9a27e1d930a000034000000010000000100000028\
                        010304017855c2500000001c010c00008006008080050005800400038001000180020f7805000024\
                        8bb0fc47642e812e041a421983a1ddab42e849593380ebe2d8175b0f615fe6650500001004000000\
                        0a010000ffffff0000000010040000000a020000ffffff0000000000000000000000000000000000",
            },
            Said {
                datagram: "15df3ae80e2936ce46eba6989551bb030810200124621f86000000bc5d6ab3596092df9d8a14d7b0\
                           bfbc815cc363362fc93e06be3e488980cd215ff791e0995fc51d09302b06530195e67adef7f265d0\
                           65d5350b1142e65197825c86d01c30ebe609188621acd93b318a733b121d0508e47223c3dfb569c8\
                           da9e65d7d031eb71d2a9895361e20f294a0be77769cd64e66689ecda82a5397833ebb28b9af3e903\
                           608b5093c121ffd651e1579b976c03117fe961a2865835dd7b87998d",
                plain: "010000185d06afb9f9d864711d620ffe5f3280e4f22eb47d0a000034000000010000000100000028\
                        01030401a418321d0000001c010c00008006008080050005800400038001000180020f7805000024\
                        e28d354bf4fa090e6773cee1cfd7094fc974678601581756454e54ec3fb706a70500001004000000\
                        0a010000ffffff0000000010040000000a020000ffffff0000000000000000000000000000000000",
            },
            Said {
                datagram: "15df3ae80e2936ce46eba6989551bb030810200124621f860000003cd4087984a0dd4999264938be\
                           e1091f86aa9dba79b9db83c6a39911599dcb759d",
                plain: "0000001812a2786e4caa1a7b706aff2f79eae4441f3efff30000000000000000",
            },
        ],
    },
    Conversation {
        what: "Aggressive Mode with AES-128, SHA2-256 and P-256; Quick Mode with MODP-2048",
        cipher: (Encr::AES_CBC, 128),
        prf: PrfId::HMAC_SHA2_256,
        keys: [
            "c4b4f6afa3f87cfcbae79f547aa11430513e6ed0f7acc0294ef20f5eb2b424ee",
            "2c9ff9c1a954dc74af33aeb956fc6b2bdcbc7fb9044b46ac752cce87cef5f4de",
            "5dfc53ca129d6ec34f367fabb904d73464109360789d6354380381a03e44b240",
            "df70d565a0c9017281332e3048a9adba",
            "9871fe341602d3c22def719c50f3bd0d",
        ],
        secrets: [
            "f1d1784aeb85614157b76c03bfd95dfa37411304d3a4d4ae441dd0e108d5009a",
            "04c98f33bfad2d974c3b63a70fce902aa60997f4700010b3ea9bbde3fa8893ce8268758c596c7879\
             da54e8b556f7a98ae0d3bdf9a641a0d71f2de49b8e7972227f9f1c14913ae1634b715d00a3e7726d\
             2dcc1478955c1c49c8f549ae60b605a893d7c626d17b7627f0a8d81219a7f0fd7cc44cd64c005d29\
             864eafbca2c53791bd46d5f31210ce4798524f44115089f4a63af038fd5b0e624a10620a632f4633\
             5c211196476d46c632484108c51bba5e7d6f293b466b25d39541469d5ea51df295eb144311ac1150\
             acfb459f7cb6c6a6145852a622354e28c0281d76430fd05aa515228aea9476cdd1778bf7c0953b85\
             f6f9cdb7465ec73bbe2d93a9b975aceb",
        ],
        suite: Suite { encr: Encr::AES_CBC, key_bits: 256, integ: Integ::HMAC_SHA1_96 },
        child: [
            "e3168571a176c658a1eb06953d8e2a92d460dedf5c35d96f7375b27129743f4ff1e19e2fd7e7a165\
             db75467feaf071d9e464c2c3",
            "778de9c476ebf2a3472904b3032e24d0d6a44f0a2c2a72f5d58ef284ed4d7efd8338e2c8f9c57838\
             bab14f26697036004aa87f30",
        ],
        said: &[
            Said {
                datagram: "37c2e63e08d6e4820000000000000000011004000000000000000130040000380000000100000001\
                           0000002c01010001000000240101000080010007800e0080800200048004001380030001800b0001\
                           800c3de00a00004404185824911a54f73dc463d3cb7412abcb9bbc99979eaeb01895a603598ba5a5\
                           374e05876a0a3aaf41fabe703d77ec2ab937f7e173e0e728cced1cf6f2e3208905000024115b401e\
                           e55515890931ee60e430286b3dbae5a915b7d3dfd6f95d3e56baa1700d000014020000006d6f6f6e\
                           2e6578616d706c650d00000c09002689dfd6b7120d000014afcad71368a1f1c96b8696fc77570100\
                           0d0000184048b7d56ebce88525e7de7f00d6c2d3800000000d0000144a131c81070358455c5728f2\
                           0e95452f0000001490cb80913ebb696e086381b5ec427b1f",
                plain: "",
            },
            Said {
                datagram: "37c2e63e08d6e482767fe7c3d8b2fa40011004000000000000000187040000380000000100000001\
                           0000002c01010001000000240101000080010007800e0080800200048004001380030001800b0001\
                           800c3de00a000044b3f27841cb915406a13919035c201534630535d0b68bef112241d368c4d36aae\
                           3b5ca69f13f0f517f01f0e29b4146446a2d7a253ce412cc396221a9934e39b40050000240ae517c8\
                           1beef388cb8e5500a3fb9307b04651bd5ac4f1ee34ab4d80cb50619d0d0000130200000073756e2e\
                           6578616d706c650d00000c09002689dfd6b7120d000014afcad71368a1f1c96b8696fc775701000d\
                           0000184048b7d56ebce88525e7de7f00d6c2d380000000140000144a131c81070358455c5728f20e\
                           95452f14000024a83744e08f8fa66c604274f0bd941c0f5bc32387bd7af52eae7d8f3e48c6c9c808\
                           0000246ee4ca97a1f768fdf926c62a51bda53baa5b97147f118923488c621240d6c4200000002435\
                           d826f62c50c8c1e1793f1748bbaf71510d43f5447b9153be6f5102cba5796a",
                plain: "",
            },
            Said {
                datagram: "37c2e63e08d6e482767fe7c3d8b2fa4008100401000000000000008c99aa798272994310724d0fb5\
                           4d860547d3b57cc58ab99260c8f1437306adffeb1c6e53df4d7cd036375de464bb2fc4ce51276ae2\
                           502c014bc50dd79f2867747ee3d2ea7205b1b4effd333eb566e1b5fd60357ddc4ab2285b2a0ab45a\
                           78d385a2c6dedd8aa4880ab65e1b7610f62dfd95",
                plain: "14000024d6ad919b4995396cfaa9c7237d8186c1065a8d55d5537e54199810ee737d20e214000024\
                        7c897f9e7a5e3c987b1a6e3964bbbec4c3e80b06464f087e4aee8df0b35b6ac10000002409302272\
                        add2f6a761c4499554389d02feea174b79114c2025763cd921067d9a00000000",
            },
            Said {
                datagram: "37c2e63e08d6e482767fe7c3d8b2fa40081020012a2f415e000001cc5a2d714a02e5c681e4124d28\
                           b806bd715497fd46a4bf595eb9db0d7ebd755b51edc2cf6c439b507c556204ef069eba9ed87a66a4\
                           ed90a0aedd67380b5af7ea166ded5b471dc7ade7eea4b2c3c1b2a4b6fb9217458feeebf1fb250284\
                           f109476763f015349325e19c3caf744eead0217a7e2fc4249304eb98395fdcd18227a0ebe79e7641\
                           e056bb0012d2fd65ffa55b77946d655cfbe43788e9b180dd847753a52108ed19ede7d87694a06741\
                           762aefe3eb1fac32bc9816a4afc8fae48db79e6f887ecbcf8689c3923e8e03919b98721208232311\
                           cdb1cc56c9a4aa3a282601c7a87f5ba4c080cee0b30446d3f7e6528946692dd29fb7fefcc0a4cf8f\
                           b84cbb57c57b9c5279a7da6dc2308b1fe0577110adb6126d0e39d9cd2f0884fa67f2b4cc7d9bad15\
                           9052614917a72e53ece789d1666b580ff9db82f69caa7a3e90bc3479e80beaa3c33621ad0574d7f6\
                           61ba04d7fb9cd486693f215a5603b7d562b80d0cf23280ac0abd6762b0dcdd8020cac754f56ef379\
                           d6dff24f998f133eda0d1dd359d7d79fd6792cc8357a870caaddf5ca45c6e8501872d0d5bc0580cd\
                           0b88e5c7603ccc7d19a9bfc303caa09ec37a0c7d",
                plain: "01000024137fc09d614fc0a8d6484d96e70b388070abe85913c4c9c08312ad8c17a19b640a000038\
                        00000001000000010000002c01030401b53bc3a600000020010c000080060100800500028003000e\
                        800400038001000180020f7804000024a67dd753f9c26186bedde4bf9299aec32a03908d75712a8e\
                        37aa5446b43f724a050001040ca0495fdfdf1368d939a2d6b39cc5864ecb52a4b5fb5a2d58528aad\
                        2488ce5d1cf76a989cbc0bb3b7361f55ef8b2379b37f2f3c32b2c9df0cbd6dca35310f4ee01bf8a7\
                        cacdc89381ae20e6ef5cc594bd46be5ee1d6cd833858b7fe080684f2191d87173664f770e62e68f3\
                        c06079818024febbbcf9ba011e1a9a8026a5a9a9924b689ba2567ca34126121e2b63eb931f700846\
                        aca1fddda374137a81f5fd83728f07fe18796c11068c9c6f3d215d64125ce1b868a9beea54aeb6e4\
                        b03df5361f608c5ee4935fc4cd73e1cc00389326aad5ed6ab50a58222ddf8a29ea8cc86d51031712\
                        e84c8ddb68c58178cb098d37038471a7e209c99babe8dad1a8a91fd905000010040000000a010000\
                        ffffff0000000010040000000a020000ffffff00000000000000000000000000",
            },
            Said {
                datagram: "37c2e63e08d6e482767fe7c3d8b2fa40081020012a2f415e000001cc92d1f99663c74593b35f29b2\
                           5634856b350ba3af2ca28b7a2bae2d20a0cf69cf55f33e6ff31354eacec9da00e4272acdc38e6a82\
                           bf7ace2a742821f6e54a274aa14df1001de8740516d45c4d1a6663c0b437a11cd47b86d533c122dc\
                           4defb380a6358d4834ef8bc78c0fff15435a0a7df66bed10959ecf543e36080f1ee9a8c97554bba6\
                           3635d26a3cc5cac47f692dec366eac318078c8d8477b257213e0eb36a56ac0eab0fe50873c961f7d\
                           1ae42331742b7dcd46b0a8825d270d261ea7a67276d80c5b85bb32b4ae065df4f40667782707e8c6\
                           fa78cf7a7919e0287e0916566d4ea120e9c7c149738fe247ad6a48786eb1b60fcc4696a8805aad91\
                           54ce3a7e55d1bc42ea75e3fb6d84c89cf31cfe8943229daf769300bcf752e6a772e8880aa3d0e49b\
                           41f554e01123f19502f741411144d9da4ba3f75e0b6494c0473d79348777896a43106b9a62b0f898\
                           2cdaa50a2ae5ff9207e0b6432d2b9ee375632dcee0640f3c8ed9f931e3be0fdcc1cf65eacca59c62\
                           d9757f2ac1c3370558f2fb60019ff1cf385a2b4f9e30654a5a8c367d423dfac90ed06c47ab68f4ca\
                           f9a6bd0942e5842eb620e76e50d0b3ae51937bfc",
                plain: "01000024833d85cff090c033b8ab6aaa4d9e14efec5e0d1cabff3e81dd5bfc0a9ad869240a000038\
                        00000001000000010000002c01030401895d7e0f00000020010c000080060100800500028003000e\
                        800400038001000180020f7804000024e5673e99ca2f48aa0e0b324c0a44ec919c3c0eeea99d442b\
                        47698d197320d8fd05000104b2ed7eb62ede78d45ba677431f7f6f58ad9db98caf1ec96a0c37cc80\
                        3befe55a18263fb3991ccf1b1a1e35e84662d67f9f730a714f263de9a7b7cbfb87aa65c2cdf65a5f\
                        670e13d7bc8ea8b75ad97e545f62a12c9f0a5bd72c25a116645fe258aa4196d27aa5cbe5203fe1ba\
                        da837dcf3e36eb1dd19c73772998f693c62d5fc6e8edac5f520795c89f739263ec0cf9494ab08ded\
                        15f948648e5a1e07713c8643e5638660d4616bdd516879dc3e5fe085955f71a4518e50f048201635\
                        47f8ec29466bce62a991dd8dd3303702c64de99e6e7f75db11d6f37312a6ac9fa98906cedd0c4be2\
                        9403c92ede77298220fe0d4d0bee13ca6326f6d1b085d09b774a9eb405000010040000000a010000\
                        ffffff0000000010040000000a020000ffffff00000000000000000000000000",
            },
            Said {
                datagram: "37c2e63e08d6e482767fe7c3d8b2fa40081020012a2f415e0000004c491628e3f0a80165e6eb3030\
                           f57efe72e0fcdbaa03f246ff7aada87178ea7aa8913b8c283e7d9de9327ce7e5b6dedebb",
                plain: "00000024a019a3d9f8a54f23c79b7a2a415f6d75b76a642d616a1b5760676febe541eedf00000000\
                        0000000000000000",
            },
        ],
    },
    Conversation {
        what: "Main Mode with 3DES, MD5 and MODP-1024",
        cipher: (Encr::DES3, 0),
        prf: PrfId::HMAC_MD5,
        keys: [
            "fca67fe8fdf853f0cdbcfd2046833e9c",
            "ad75757dd5ee0131c24fc895ba24151f",
            "3d604de07faed27be9b0432c3c9d5189",
            "d7afe9cd4ef8846d624a9cbe9e35febe6d02ed45f8941f54",
            "44b45b4bbc23cb62",
        ],
        secrets: [
            "bd9bd662a1b6a7071ec273a04163564e9f58b95e9742297ed2d91cd801a7cd44c83bc99cecee1531\
             68abd20f6b70a3d46ec3980cf9e17c38dde0bdbeb0008f51b5cd3db882771fed3b04032c69ab4be8\
             c7ee3f101c1bffed5af44ed804048a8038e5fa12ff3ecd541833861e25b52b71014b85294a9a34a5\
             02035a042eb8d3aa",
            "",
        ],
        suite: Suite { encr: Encr::DES3, key_bits: 0, integ: Integ::HMAC_MD5_96 },
        child: [
            "3cdf23240b4559f5aef3cd9261c8521eef144903170ec8889eadccee882857ad24545e0dad8a146f",
            "2371aeccc94d9307103f483a5f1ac43a637575e96167bc1d8edcabdd999a1d6853ee40b25f62882a",
        ],
        said: &[
            Said {
                datagram: "d6ef2b1d84659b7200000000000000000110020000000000000000b00d0000340000000100000001\
                           0000002801010001000000200101000080010005800200018004000280030001800b0001800c3de0\
                           0d00000c09002689dfd6b7120d000014afcad71368a1f1c96b8696fc775701000d0000184048b7d5\
                           6ebce88525e7de7f00d6c2d3800000000d0000144a131c81070358455c5728f20e95452f00000014\
                           90cb80913ebb696e086381b5ec427b1f",
                plain: "",
            },
            Said {
                datagram: "d6ef2b1d84659b725805c1914f381f9601100200000000000000009c0d0000340000000100000001\
                           0000002801010001000000200101000080010005800200018004000280030001800b0001800c3de0\
                           0d00000c09002689dfd6b7120d000014afcad71368a1f1c96b8696fc775701000d0000184048b7d5\
                           6ebce88525e7de7f00d6c2d380000000000000144a131c81070358455c5728f20e95452f",
                plain: "",
            },
            Said {
                datagram: "d6ef2b1d84659b725805c1914f381f960410020000000000000000ec0a000084a65b64dfc9798fa4\
                           9702dc2070fa0974eea968657a05b805dc30db3d593a4ca022ce9b97971c31603e9e14fb88b56e94\
                           051297b6c116c3f5c41ec814bbb9da010c46f6e86322b54a69538899b715d03776a5a903199de488\
                           ffdf139a33011f6e3fac4e2b39942106f6284348aa68bed433c10fb3a4d13f81b265aaa0c926a538\
                           14000024345e522a7f93933dfc098f994c37ab548d7725fb3dacecf2ac771dfb6e0a512714000014\
                           675d26b21485dc74a9a48849b45c8189000000145db9171bb6c0ba6fd2cc72fbc7a5717b",
                plain: "",
            },
            Said {
                datagram: "d6ef2b1d84659b725805c1914f381f960410020000000000000000ec0a000084c077510b2d93d1e0\
                           c8ef464c54fcde0787a91a5be267227b8060edd3ccecaebadfc4bb99eda679c639d85a322f124dad\
                           accfe96d856fd9b943123cd4bc12fd4ba47e171f2b2586c19bd38204695f8ac79c3314758659d635\
                           7a16c11f9a180bac7b1c7ea1187bf7322abcc1ab1d99e2d9b91d2ef7e1d068aad456991070a108d1\
                           1400002450387c7cc9bdd1face709d0457e9eeefba8c48948aed2a9fd0124b59924e575414000014\
                           069f7b2a66799566bb57b4bb3ad7f50f00000014bc2d71c21058f3daea3c277ca01e43e9",
                plain: "",
            },
            Said {
                datagram: "d6ef2b1d84659b725805c1914f381f960510020100000000000000641118398d14232c35f33b899f\
                           792a73ba1c2f2f269774db8ddc0c847c3a4f1bec55916a0bbdb26ad774ebdd93eefaaf647ef0ec9f\
                           1642042a6055c6f5d98bd45fd2949b8b0f9ba9df",
                plain: "08000014020000006d6f6f6e2e6578616d706c650b000014cca45ece1983f07c5faa0a510c0dadcd\
                        0000001c0000000101106002d6ef2b1d84659b725805c1914f381f9600000000",
            },
            Said {
                datagram: "d6ef2b1d84659b725805c1914f381f960510020100000000000000446926e0b3c43c968f4b1aa500\
                           772768786449b3b69fe50cc8272e5f42dd107aaef4367d1846e6b15b",
                plain: "080000130200000073756e2e6578616d706c65000000142755f0b88f6a9c7f7fb56518f880b6c100",
            },
            Said {
                datagram: "d6ef2b1d84659b725805c1914f381f960810200132306e71000000ac03bbfd6ee38d21d7fb2813d2\
                           8e054950ba40271b29228fedb625d0260bd819a102bb781dc4a5afd4f544f6c45d53a31b5ac64bdf\
                           98ae2dc308af8e9f08eedd45ae7eddaafbe4d5b68b8c24bcb9c80dfb1ef008e6f04fc46f5838a877\
                           fdd5c066556e00228f9b1171fbc1dd39cc9b73ded01aca25a588c3c80673f9bd2033b77786832025\
                           20983b429daf4c7b65a4cce3",
                plain: "0100001457a582a2cef00be93d19657879513c5d0a00003000000001000000010000002401030401\
                        19145d17000000180103000080050001800400038001000180020f78050000240f68b1b5b6f71cf4\
                        24b55aeedc03333428073f1fca33353ecbdd9466225e7a1605000010040000000a010000ffffff00\
                        00000010040000000a020000ffffff000000000000000000",
            },
            Said {
                datagram: "d6ef2b1d84659b725805c1914f381f960810200132306e71000000ac03c063b03f079a64e62706a7\
                           8186c46b2b83b064f34dd152494b9b5b6fb753a1a27f0bb814cd002c53ecd9fac64bf6fce8278f93\
                           8925d2942dc800224d144bce0f04b38782e11ed45f01189558b2a775492ed641c9d0f31802dd5e4b\
                           7c1e88a5dc6192fe523e5beaaf7e10517d9fbfc1c2dcdc9be6284db767054e9a86c4ba0bacf35de9\
                           0f1be6179f7933bf2e456c4a",
                plain: "01000014fdc12d2b711e62268757466594daaafd0a00003000000001000000010000002401030401\
                        84b49ac2000000180103000080050001800400038001000180020f7805000024a388733684e2a401\
                        85a2379676c417effc0824d3cb9880dfcec7bb0a5b14b4dd05000010040000000a010000ffffff00\
                        00000010040000000a020000ffffff000000000000000000",
            },
            Said {
                datagram: "d6ef2b1d84659b725805c1914f381f960810200132306e710000003496aedd5496baec44943c2a90\
                           178207420d28c7780e33c2e3",
                plain: "000000144ad335337b0d1950e9415861f15d9a2b00000000",
            },
        ],
    },
    Conversation {
        what: "Main Mode, XAUTH and Mode Config with AES-128, SHA2-256 and MODP-2048; Quick Mode with MODP-2048",
        cipher: (Encr::AES_CBC, 128),
        prf: PrfId::HMAC_SHA2_256,
        keys: [
            "5ee92e12ac2edcf2eefe3c6e74284aeadf1a9a60ccfc22cd107a2e71cc2e93c2",
            "c342f53b99a823600f7b7aefec28fc3db30e75ff734128291f16421116cc4bb9",
            "79341ed1cb93c9e6386a1e45e32c30cb3b264064e6bc1027c4963943f695b562",
            "b851f33f51a91bc6be78a270244cfdd8",
            "2c353c64f5febaf01bcc1574df6886c9",
        ],
        secrets: [
            "505f377a379df4ad94702dd97bc927cfcc4e611d814750d3849d60be3c57a97fd3c5a124462e95eb\
             93a1b6d34f051bd352ba2890a4893c6dc9312f5e15d441785ba925083918566cced66a726d9608ce\
             f7cc01d70b331a199eaa61f0f107d35266643bbc71147c62288cea1396b0a4be39e643bcaa9dc91c\
             0ca2ede3ca867728bd9880a0b808e59d548f67c833949effae673fe11ccd1256aa35aba76f20beaf\
             de66d1d97e14476913f4bd926fd03baa4e90e65e02b3f51494a3fee0d9f330d8c23155ee961543ef\
             2e546f7c9a2935ae9fc2f48d21e6e39cfb8ae41d57022475379559c788a89d2539a336f064f90560\
             c434f534eb7008af04542bdce8748822",
            "732d4ed5496437eee5d55d26db167184c40956ff3adce132a92f89b127ddd90a4bc35872e75ca224\
             a6cfbdfe2ddbc8df8b8933f1ebae6d215807d44949ddd2962339c1b7ec84f05f1e940dc33097a4df\
             949475f3efb224a808a22f26c107ab08405dc18abfd916c76e56ffb7ac20277e04b30d4bb6cbfb2c\
             8f73857c76ef4574e428563d64dfe4fd78f94f11a0e7a5dac24f1f43fcf728ea5aea2d35b780cc52\
             3b05748b128c8a954333405a699a7b046a2225ed23a56d55bf4a4f7e7908c959d94dfeaa025467ef\
             887d24e313bb4e60bd25d38754cf08e145c2255c22110eb2add93b0d0e5dc578874cc089d371e96b\
             e47a76835d6c0f4db912602ca268db5f",
        ],
        suite: Suite::AES_128_GCM,
        child: [
            "9cfd22d0faffbd168be048532ea57d9099a5d75b",
            "3cd2e0455d1c7f5cbba394c986e342de9b91a0f9",
        ],
        said: &[
            Said {
                datagram: "e92e6d727d1612f000000000000000000110020000000000000000b40d0000380000000100000001\
                           0000002c01010001000000240101000080010007800e0080800200048004000e8003fde9800b0001\
                           800c3de00d00000c09002689dfd6b7120d000014afcad71368a1f1c96b8696fc775701000d000018\
                           4048b7d56ebce88525e7de7f00d6c2d3800000000d0000144a131c81070358455c5728f20e95452f\
                           0000001490cb80913ebb696e086381b5ec427b1f",
                plain: "",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b80110020000000000000000a00d0000380000000100000001\
                           0000002c01010001000000240101000080010007800e0080800200048004000e8003fde9800b0001\
                           800c3de00d00000c09002689dfd6b7120d000014afcad71368a1f1c96b8696fc775701000d000018\
                           4048b7d56ebce88525e7de7f00d6c2d380000000000000144a131c81070358455c5728f20e95452f",
                plain: "",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b804100200000000000000018c0a000104ff5abc3dc909abd0\
                           1a0488b7fe687337bc76d9b56341b00b5f3463270e4582c4e8a5b741371be989baf6629f4647d6ef\
                           b77ac0e6d296a11d2c4ad66942cc9993477b1377975ad476ed9ef50fec35075606de0e0875f8e8f3\
                           4543438ec2acfbc18e4fc82430c9ebbb77f7c5076bb0778bc97549e02cf7ca6a857f6bbbbcb06391\
                           c37a6962c70314da835dec3e92cc79efafdcaeb790a4f330543858b2c2f3b96a153dad7feec9da88\
                           68a3b86a541d181dedddf44a190e68835c8a5eade41c505576b2af132727a8a639d29e6b160eaba2\
                           d65cbd59a569e0600a9b7a6136ce8ba5e0b7b99e77fd2025778b48b915bc045bbea7ad01b3e3d7c2\
                           aa9bfa93f1396ebd14000024b8a7e9dce34f815b621590cdd4310ea007d9dc7d36de8d86ecc77312\
                           db2cc5cd14000024cc1c280f89adf289412f85ff2a4b4c63bef00e9c41f431485aa2f9a42a4813fc\
                           000000241f7c93139b1f4750050382cf8d3b9b26e82e147cdda7c98b7b26403fe766cb05",
                plain: "",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b804100200000000000000018c0a000104203f5f2aaec6a151\
                           5b6551dd238f13e95117e574680c40d691b929be16d2d3cd668bbbd09f0700c3cd8a33eed9b3781f\
                           283322c2e048f8ade7d2b07f1ce238523de9fe9159527a367f594c862e9bd9e230ddca0e0eeb31c8\
                           775e84cb37ac3316cd0358978bb403dd91742aa1ad7c106e022596d2808b81131e65e3537411b8e1\
                           fcd38e7a014e440ce03f65c1c7a37309c9cbfb9eed8800f6714897654830fde73f99f73e018d7507\
                           4f1cb5b0fe54c694e5666ec31136b70c0d949c8e7b60b96c8b552f32a768012b54f824a9107e1a5a\
                           8b2e8a0a46fccbe16a74346318ec03b4d98dd3cfccc2b1ab7955ae76d254156c63536983ae92183a\
                           f75a2f185d39ba061400002465943239a842706be7a9174c329dc9bd628a57aa8cbfc70c65e41003\
                           a2e0a1a6140000246b67f41c08bcd6c845454afe4e42815abac22e2cb8861265b02eea906809aeb5\
                           000000242b8d049833b3dcf1452c405bbc225d64aed53fa8ec52b3da940e523a71c13bb8",
                plain: "",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b805100201000000000000007cbfbf0917069cf0b5e5b03a17\
                           60e8c46008f2642149308522462f4f37d540624a98f6ace7b716c34ce18bdafc9b565d6d56209e63\
                           b5a4eb08ad2543c05835fa06656b57f84db50231a8c2ae8d15e724408c1e50a0d0d4fb860df3217a\
                           44fe1559",
                plain: "08000014020000006d6f6f6e2e6578616d706c650b00002405c1f362fd92e5605b31015a976f451d\
                        f4a2f9219ecc1cf4d4e36948d26dcdd00000001c0000000101106002e92e6d727d1612f01fae787c\
                        0ab836b8000000000000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b805100201000000000000005c9613f6f182ef235c19900216\
                           174eb7596a632760b6b74979584a6fae4301b68418bd15c39a1f14731c10d3fe4f776a178667e336\
                           5983db8db39e2247ad6175da",
                plain: "080000130200000073756e2e6578616d706c650000002464bc5b5c784ee8da2f09b3aab042bf5616\
                        e86b4918546f8a2af825987b9b6467000000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b808100601030459730000005ce8f27844eb0a8b1313c09b84\
                           6dc9133513dc10132526ae853a9029c7dd732ce23ceb4a744a8ce1cae75a438b515234f6e0de511c\
                           b9f02f965d349d7211fbadec",
                plain: "0e000024da09dcf6405db852133e57061b6fb77579376f68fbf959de1f7cb262a3729d0900000010\
                        0100000040890000408a0000000000000000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b808100601030459730000006c22b38c827db0f1495a9f6f02\
                           0828202f607e988c77a7d09f9164f8fce0829316d877620808c15d1909ede8dbdf0daa478c365bb6\
                           9b74e933bb0893e00727f9c665981a8f9730f720b76f88a5dd30aea9",
                plain: "0e0000241f6da01f87d9c7463c94fa4f47bf85dc047bee84b0b89c4a13f09bf1067ec5880000001c\
                        020000004089000475736572408a000870617373776f726400000000000000000000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b80810060113b504e60000005c886a28c9e01c90b3d1de311a\
                           04fbefc54860190c8ed4b590f93ee32b0113d82c995555687843c0cc5f65aff052632cb12392aaf0\
                           3548ebb7a00aa87370b97893",
                plain: "0e000024a0175dd1709179fdacefeaa56d94b611eae99ac47e11dda6d25270b1048f1d340000000c\
                        03000000c08f000100000000000000000000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b80810060113b504e60000005c1e59d438b0e880f3ed5e970c\
                           28555341f70c29ded2dd779392dad1dbaa47e4b1ce4192787d00ede95c87ecb2a28c3ad7620c4e26\
                           89d1561304a3dd81bcffd322",
                plain: "0e000024e8c49add84bdad12573dc2d0909543fc058964032daabc3222e94286c457ebe60000000c\
                        04000000408f000000000000000000000000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b8081006014b8e31640000005c91448e5df18f6d356120a019\
                           4fdf45112240d9a9361c29f94157818c69fd1151b2bb459639e4efd2f5e1f5bb60d119975cd13c01\
                           5a26ed8cdf419cea0337b7b1",
                plain: "0e0000244b0741e54f043cca0f682a58532b044d1af6575bc71183729783bb9f9de6d7f30000000c\
                        010000000001000000000000000000000000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b8081006014b8e31640000005c1fb87d2e5735321820d63df4\
                           cb210f244e823e08fc5be4602069dd83c2715a2e9a8c43000d260866dcc9fbc406a3d4e36123a556\
                           b699fd5ff35da2b85de8a9b1",
                plain: "0e0000240e614cd103dca07a4a344219c18979813ce7903261ab31d3ffd8ab48d0fad62300000018\
                        02000000000100040a030001000300040a03003500000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b80810200170c2395a000001cc72da24e26f0d6ab1c88e1027\
                           5f78c8ad9465801c36f02ae1eedeae0bd7a18a5761d51f5adf7f4d799d6da31214dbc3a1740013d6\
                           ae7d29f5780b2f813caef209dfe88ce1d22429a26eae41c7090f3ee5aa8f712a5984da0a7a3e7811\
                           24be8a051a39ecb8629ec3f32b32b4eaea26a62db12421920f1950818123fec777a06d4537ac9686\
                           c454d6d0c216001477fa549608695592b3203c83d607efe1c4ec004ed8e067d0544595f269ad9caa\
                           970da2a4186af6260599bf65c5be4f627fa0517b57fd20a8ef136f7feb273a3c89b8fd33ac914871\
                           a27c1f1f8ce333ac4fbe6cc6758bd61910d47122962787ec4698dcb339e2bfb97c92979196c7d54c\
                           109effd0f5294b920183c4595973baab75862d30c5bb6bb05d5d8dbb904b70d6a45fe7357f0abfd1\
                           783d4f074859105cffdd3d4b5c9545aec7d8a93b756b6c2e2d1ffe98e6d7b37832625eed41edec0c\
                           67ba1b82959f001f3b16b161bf4d76c8f3e96dbcd36725240ef4de58671e6f53c1bc174d0ac887ac\
                           123e318ed8189e68a989a4db942c0a31b3802cf11e2290b96f85a6503a8dac3ece282104483f657f\
                           01418810f61b526171ec58dbff349a8be8d078c9",
                plain: "010000241e3f24352761705f321c79a73d459ae1396eb82c0bcba2004170487e00df1f420a000034\
                        000000010000000100000028010304014403d6730000001c01140000800600808003000e80040003\
                        8001000180020f7804000024739035bab0e5a1c1a84116ffdef1bd69d6059b3db35b8c4c3ea127cd\
                        f0ece38405000104aeda5c544d3b811956100b8ba781fdb27b593ccd401439d94de35397e3799ca6\
                        e041671c907016a2600e1ff736d2092b901799947cad98bca99669bb9b0e397763ee4e710017e140\
                        d3b1421688fa0efd646d74d3fe8544576f7a1da5db780d2d574ec973c24e06826da9032275ef87d9\
                        7a3430e12fa3e8cd0e643da541835d8cdeae7b6a07bf8b3b1fad7702c24c55069ffe8b3b316279b4\
                        cff3a3bdfb8df3d51921f50fd933808712b24bf3ba6df8e3285f5dddfed54fd78307856cc53c2832\
                        20527c8952faa09519969abea3164f296314358695f6c4e4c9081a3f68c0fcfadcb192e6f2812266\
                        20bab7e8141a399b246850ce84de9bf2b82c4a67f8df82ff05000010040000000a010000ffffff00\
                        00000010040000000a020000ffffff0000000000000000000000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b80810200170c2395a000001cce428306f87b972638496ff11\
                           d5c434348d1f9a2019428ed357d49e8b5ff98b58d8ad51e089553541e9b497ef7a5bfc1e96945ce0\
                           57938e8f529238d6df5fdcc034e7d95fa1a152fd062bec1dfd9912e035f5da21469d1aec786c1492\
                           e1841de24086c276d902536c84906345c3e9803ff9ce8d2f62e0fdbc8af18abc8d2a0d2e09546842\
                           4ec732be091eabe8ff5ceafbd8a65e60ca4c3d14c6e623c06b0c7194f344004bc3147db855815d57\
                           12d69cc02f730539ccd265d13859c1fc825b6cb1c9cb1f523577f07a5a3fb67d83418604949d2372\
                           433d85ff2b8b9edd18340246f2d2ce4a116bbcc8477a7680960a637cbcd299e1dd75668114543cb9\
                           06e72ad4c84c612fff697da4e2d41b2c206d0b4354e7ad87f6d50c5173da471148b5055025106e53\
                           d257dbba7c79bbcb7fab3e882e6fc313aad6137fe0470954ae7b04a144093f6c4b3aec5b3c0abee3\
                           2a6e566ad68469f471fa4e5a8c2bb51792948892b8919741d121a83bb25eec49c3bd8ec9f8276d52\
                           f24fe3fb4369136824fe72655bd309ae7eff0a977957184458f326ef45faa8be6f6ca1bd7c0b7789\
                           91daf77cc4383091374c22d37db2cd7f82726a9e",
                plain: "0100002452e57e2fc61c97be8018d3ba5e4d18c2e0ca2b70ee652802144a0cf34e9015b80a000034\
                        00000001000000010000002801030401d63892840000001c01140000800600808003000e80040003\
                        8001000180020f78040000241929d26b124a36205eee90eec0f4129cf8cfa9dfcdfd2c2038cd0669\
                        56b3c6f50500010462ac9abbe5b149f4a4e79c37ca9de7a689b96a679cda9df069751cb64a3039c2\
                        9abf01be195e103c2eb3de4b49f756489ad3ba035836e70d969b579d21c98e9d522eef267f7246ed\
                        a15ac67cf9c295354077575817f73a458a53fc9ea7110bfdb7881f587e8dce11b774dfdb9da311e4\
                        27258268e6b6c488d89f4d66606fd9c38b94341fe33a0ecbdaddfb784145647cceb8a584f0fa37c6\
                        f52b032d75d0cf365540d548a140af39a217139e1c66cc9259e29d7f70f05d845e647b8f944f9c55\
                        eeb47d0542d10fd34634aac7805053b4ebdd5404b50e8764bbf5e71697321dde95fbcb3431fcde37\
                        0d116f767a28c164e1c74b48e148c6ab7678f1e29692e7ce05000010040000000a010000ffffff00\
                        00000010040000000a020000ffffff0000000000000000000000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b80810200170c2395a0000004cf53b9216f72dc5737eff1b60\
                           bdc77f6455a9cbf9194826f1768737c2dd738fcaafd9e1c2a7bc6d8a9e475f3727a76aca",
                plain: "00000024671e81ea29b3e6d29f46b213ef1b4aa3cd25fb142f5483198b83bc1de458bf9300000000\
                        0000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b8081005019a3d6e990000005c6ad185a5560fc69ea6f1a34f\
                           c65182329cab4e188c4951e71e7f7d89040ddb54d158f219446a246de2decbca9dd9593b066d1722\
                           838a16a57dc9fd6bbfffd9fa",
                plain: "0c000024e3943261fe31c0a509be8ce4cb27959ab45c6b622e548a247f4aa1dd7269cb3f00000010\
                        00000001030400014403d673000000000000000000000000",
            },
            Said {
                datagram: "e92e6d727d1612f01fae787c0ab836b80810050188a3928a0000006c842e93fa0aba03c59c9f198c\
                           5fe66c3960ac9551725883eb0d1d2199cc14bf413fabb359dfd19fc9e73987e4a55e277379bf7a48\
                           f579762a5d91c70f313a69de93e490cc3dd66817acc7ff0dc7a7bda4",
                plain: "0c000024dffd5764be5addabd52094822c2af76dbb8658bb04634c4e99de252d7413f8960000001c\
                        0000000101100001e92e6d727d1612f01fae787c0ab836b800000000000000000000000000000000",
            },
        ],
    },
];
