package injection

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// class is a set of meanings a word can have.
type class uint64

const (
	cIgnore   class = 1 << iota // sets aside what was said: ignore, disregard
	cDrop                       // may do so too, and has honest uses: skip, delete
	cPrior                      // previous, above, so far
	cAll                        // all, everything
	cInstr                      // what steers a model: instructions, prompt
	cRule                       // may steer a model: rules, policy, training
	cThing                      // can hold instructions: text, message, context
	cSafety                     // what holds a model back: safety, ethical, filters
	cLimit                      // restrictions, limits
	cYour                       // your
	cYou                        // you
	cI                          // I, we
	cMy                         // my
	cThey                       // they, users, attackers, a program
	cAI                         // names and kinds of models
	cSystem                     // system, developer
	cHidden                     // initial, hidden, secret
	cReveal                     // reveal, leak
	cShow                       // print, repeat, translate
	cWhat                       // what, which
	cExact                      // verbatim, word for word
	cNew                        // new, following
	cRole                       // act as, pretend
	cFree                       // unrestricted, uncensored
	cNo                         // no, without, free from
	cNot                        // not, never
	cBound                      // abide, bound, adhere
	cMode                       // mode
	cSwitch                     // enable, activate
	cOff                        // disabled, turned off, no longer apply
	cJail                       // names that only jailbreaks have
	cRefuse                     // refuse, decline, warnings
	cHarm                       // illegal, unethical
	cTalk                       // words of those who write about attacks
	cGuard                      // detect, prevent, protect
	cSend                       // send, upload, exfiltrate
	cSecret                     // passwords, conversation history
	cTool                       // tool, function, command
	cExec                       // call, execute, delete
	cUser                       // user
	cCovert                     // do not tell, secretly
	cFirst                      // priority, precedence
	cPolite                     // please, now, then, and: may stand before an imperative
	cModal                      // must, should, need, will
	cAsk                        // how, why, explain: a question about the thing
	cReply                      // response, answer, output
	cMake                       // write, create, improve: makes the thing rather than shows it
	cGiven                      // given, told, received
	cFollow                     // follow, obey, comply
	cInstead                    // instead
	cTo                         // to
	cOpposite                   // two answers, opposite, personality
	cThreat                     // tokens lost, die, cease to exist
	cName                       // named, called, stands for
	cForeign                    // a word of a language whose order of words differs
	cOnly                       // only, solely
	cThat                       // it, that, which: before a verb that is no imperative
	cTail                       // last word of a phrase
	cAnchor                     // found by the prefilter
)

// vocabulary lists words by class, one line a language. A star at the end
// stands for any ending, an underscore for a space within a phrase, a leading
// caret for exactly that case (names that are words otherwise). Accents do not
// matter: they are folded on both sides.
var vocabulary = []struct {
	classes class
	words   string
}{
	{cOnly, `only solely exclusively nothing_but nur uniquement seulement solo sólo somente apenas soltanto только 只 仅 のみ だけ`},
	{cIgnore | cAnchor, `do_not_execute do_not_apply don't_apply unfollow ignore ignores ignored ignoring disregard disregards disregarded disregarding forget forgets forgetting forgotten override overrides overriding
		overrule bypass bypasses circumvent disobey unlearn pay_no_attention do_not_follow don't_follow dont_follow do_not_obey don't_obey do_not_listen don't_listen
		stop_following stop_obeying do_not_adhere do_not_comply don't_comply not_to_follow no_longer_follow put_aside set_aside
		stop_being do_not_consider do_not_abide no_attention_to cast_aside leave_behind leave_aside take_no_notice turn_a_blind_eye never_mind nevermind`},
	{cIgnore | cForeign | cAnchor, `ausser_acht außer_acht nicht_mehr_beachten ne_suis_plus ne_suivez_plus ya_no_sigas não_siga_mais non_seguire_più 不再遵守 不要再遵守 もう従わ no_hagas_caso no_haga_caso ne_tiens_plus_compte non_considerare non_tenere_conto 不要管 不用管 别理 ignoriere ignorier ignorieren ignoriert vergiss vergessen vergesse missachte missachten misachte nicht_beachten beachte_nicht überschreibe umgehe umgehen übergehe setze_dich
		ignorez ignorer ignorons oubliez oublie oublier négligez néglige contournez contourne désobéis désobéissez outrepasse outrepassez ne_tiens_pas_compte ne_tenez_pas_compte ne_suis_pas faites_abstraction fais_abstraction
		ignora ignorar ignore_las olvida olvide olvidar olvídate olvidate omite omita haz_caso_omiso haga_caso_omiso desobedece desobedezca pasa_por_alto no_sigas anula deja_de_seguir
		ignorem esqueça esquece esquecer esqueca desconsidere desconsidera desconsiderar desobedeça não_siga burle contorne
		ignorare ignorate dimentica dimenticare dimenticati dimenticate trascura tralascia disobbedisci non_seguire non_tenere_conto scorda aggira
		игнорируй игнорируйте игнорировать проигнорируй проигнорируйте проигнорировать больше_не_следуй забудь забудьте забыть пренебреги пренебрегай не_обращай_внимания отбрось отбросьте нарушь обойди обойдите не_следуй не_слушай
		忽略 无视 無視 忽视 忽視 忘记 忘記 忘掉 不要理会 不要理會 不要遵守 绕过 繞過 不理会 抛开 拋開 撇开 别管 不用管
		無視 忘れて 忘れろ 忘れ 従わない 従わず 破って 取り消して`},
	{cDrop, `skip skipping drop discard delete erase erasing wipe remove cancel void nullify abandon reset replace supersede supersedes replaced break breaking violate violating dismiss neglect omit clear reject stop cease
		suspend ditch scrap purge undo revoke invalidate overwrite flush exit leave lift remove deny defy unset trash scratch`},
	{cDrop | cForeign, `lösche löschen verwirf verwerfen ersetze brich setze_zurück
		supprime supprimez efface effacez abandonne abandonnez remplace
		elimina borra borre descarta descarte reemplaza
		apague descarte elimine abandone substitua
		cancella elimina scarta sostituisci
		удали удалите сотри отмени отмените замени сбрось
		hör_auf höre_auf hebe lève levez enlève retire retirez arrête_de arrêtez_de levanto levanta quita deja_de dejen_de retiro remova retira tira pare_de deixe_de tolgo togli rimuovi smetti_di сними снимаю убери перестань прекрати
		删除 清除 丢弃 取消 重置 覆盖 覆蓋 削除 破棄 消去 リセット 上書き 解除 停止 去掉 撤销 やめて 取り消し`},
	{cPrior, `at_the_top at_the_beginning at_the_start topmost previous previously prior preceding above earlier before former existing past foregoing aforementioned so_far until_now up_to_now till_now preset pre-existing beforehand already old older
		currently_active standing`},
	{cPrior | cForeign, `précède précèdent au-dessus ci-avant weiter_oben vor_dieser vor_diesem avant_ce avant_cette antes_de_este antes_de_esta antes_desta antes_deste prima_di_questo prima_di_questa より前 написано_выше сказано_выше arriba_de vorherigen vorherige vorheriger vorherig vorigen vorige bisherigen bisherige früheren frühere fruheren obigen obige vorangegangenen vorangehenden vorhergehenden zuvor vorher bisher davor oben ursprünglichen obenstehenden alten alles_bisherige
		précédentes précédente précédents précédent antérieures antérieurs antérieure ci-dessus ci_dessus auparavant avant jusqu'ici jusqu'à_présent initiales plus_haut
		anteriores anterior previas previos previo previa precedentes de_arriba arriba antes hasta_ahora hasta_aquí
		prévias prévios acima até_agora até_aqui
		precedenti precedente sopra finora prima di_prima
		предыдущие предыдущих предыдущую предыдущее предыдущий предшествующие прежние прежних ранее раньше выше вышеуказанные вышеприведенные прошлые до_этого
		之前 以前 先前 上面 上述 以上 前面 此前 前述 原有 先の 前の 上の 上記 これまで 今まで それまで 過去`},
	{cAnchor, `above you_are_now from_now_on pretend act_as no_longer in_character rest_of_this developer_mode dev_mode everything_before everything_that instructed programmed_you your_rules own_rules were_you_told you_were_told you_were_given told_you been_told system_administrator passwords credentials chat_history conversation_history user_data exfiltrate exfiltrating api_keys two_answers two_responses answer_every_question code_snippet code_block code_section code_excerpt`},
	{cAll, `all any every everything anything each whole entire entirely completely totally fully`},
	{cAll | cForeign, `alle allem aller alles sämtliche jegliche komplett
		toutes tous tout toute
		todas todos todo toda todo_lo tudo
		tutte tutti tutto ogni qualsiasi
		все всё всех любые
		所有 全部 一切 任何 すべて 全て 全部の あらゆる 一切の`},
	{cInstr | cAnchor, `instructions directives guidelines guide-lines prompt prompts preprompt pre-prompt programming programing guardrail guardrails safeguard safeguards
		system_message system_messages system_prompt initial_message developer_message developer_messages`},
	{cInstr | cForeign | cAnchor, `anweisung anweisungen instruktion instruktionen richtlinie richtlinien vorgabe vorgaben systemprompt systemanweisung systemanweisungen aufforderung aufforderungen eingabeaufforderung programmierung
		consigne consignes directives directive invite_système
		instrucción instrucciones instruccion directriz directrices indicaciones indicación
		instrução instruções instrucoes instrucao diretriz diretrizes diretivas
		istruzione istruzioni direttiva direttive indicazioni
		инструкция инструкции инструкций инструкцию инструкциям указания указаний указание промпт промпта промпты директивы директив предписания
		指令 指示 提示词 提示詞 提示 系统提示 指南 准则 準則 説明 命令 プロンプト 指示書 ガイドライン システムプロンプト インストラクション`},
	{cRule | cAnchor, `instruction directive guideline`},
	{cRule, `rule rules ruleset policy policies constraint constraints order orders command commands training configuration config settings protocol protocols regulation regulations direction directions
		law laws tos terms_of_service code_of_conduct assignment assignments principles mandate mandates parameters`},
	{cRule | cForeign, `regel regeln befehl befehle auflagen vorschriften aufträge auftrag aufgaben
		règle règles regle regles ordre ordres règlements contraintes consignation
		regla reglas orden órdenes ordenes normas políticas restricciones_previas comandos
		regra regras ordem ordens comandos
		regola regole ordine ordini comandi
		правила правил правило приказы приказов команды команд ограничения_прежние задания
		规则 規則 规定 规范 約束 约束 设定 設定 ルール 規約 規定 制約 命令文`},
	{cThing, `window beginning top notes previous_message text texts context conversation conversations chat message messages information info input inputs content contents words word line lines memory task tasks statement statements said data identity topic request requests warnings output
		discussion dialogue sentences paragraph`},
	{cThing | cForeign, `text kontext gespräch nachricht nachrichten aufgabe informationen eingaben sätze gesagte unterhaltung
		texte contexte conversation message messages tâche informations
		texto contexto conversación mensaje mensajes tarea información
		conversa mensagem mensagens tarefa informações
		testo contesto conversazione messaggio messaggi compito informazioni
		текст контекст разговор сообщение сообщения задачу задание сказанное информацию
		内容 文字 文本 对话 對話 消息 任务 任務 上下文 文章 会話 メッセージ 文脈 内容`},
	{cSafety | cAnchor, `safety ethical ethics ethic moral morals morality moderation censorship alignment guardrails safeguards content_policy content_policies content_filter content_filters usage_policy usage_policies legality`},
	{cSafety | cForeign | cAnchor, `sicherheitsrichtlinien sicherheitsregeln sicherheitsfilter ethik ethischen ethische moralischen moralische zensur inhaltsfilter inhaltsrichtlinien
		éthiques éthique sécurité morales morale censure modération
		éticas ética éticos seguridad morales censura moderación
		segurança éticas censura moderação
		etiche etica etici sicurezza morali censura
		этических этические этики моральных безопасности цензуры цензура морали модерации
		安全 道德 伦理 倫理 审查 審查 道徳 検閲 安全性 セーフティ 倫理的`},
	{cLimit | cAnchor, `limiters conscience inhibition censoring restriction restrictions limitation limitations filter filters boundaries constraints guardrails censors inhibitions confines shackles safeguards restraints taboos scruples disclaimers limits constraint`},
	{cLimit | cForeign | cAnchor, `einschränkung einschränkungen beschränkung beschränkungen filter grenzen begrenzungen hemmungen tabus
		restrictions limites filtres limitations contraintes tabous
		restricciones límites limites filtros limitaciones tabúes
		restrições restricoes limites filtros limitações
		restrizioni limiti filtri limitazioni
		ограничений ограничения ограничениями фильтров фильтры рамок запретов
		限制 约束 約束 过滤 過濾 拘束 禁忌 制限 制約 フィルター 規制 限界`},
	{cYour, `your ur yours you're_given`},
	{cYour | cForeign, `deine deinen deiner deinem deines dein ihre ihren ihrer
		tes ton ta vos votre
		tus tu sus su
		teus suas seus sua seu tuas
		tuoi tue tuo tua
		твои твоих твой твоя твою ваши ваших ваш вашу свои своих свой свою
		你的 您的 あなたの 君の お前の 自分の`},
	{cYou, `you're you'll you've you u ya y'all yourself`},
	{cYou | cForeign, `du dich dir sie_sollen
		vous toi tu_es
		usted tú te ti
		você voce vocês
		voi te
		ты тебе тебя вы вам вас
		你 您 あなた 君 お前`},
	{cI, `i we i'm i'd i'll we're`},
	{cI | cForeign, `ich wir je nous yo nosotros eu nós io noi я мы 我 我们 私 僕 私たち`},
	{cMy, `my our me mine`},
	{cMy | cForeign, `ma mein meine meinen mir mes mon moi mi mis meu minha meus minhas mio miei mie мне мои мой мою 我的 私の`},
	{cThey, `they them he she users attacker attackers adversary adversaries someone people developers program programs client clients browser compiler parser server servers functions hackers hacker malware customers employees
		children students researchers users' systems models applications chatbots llms we'll`},
	{cThat, `it that which who they he she this whose`},
	{cThey | cForeign, `angreifer nutzer attaquants atacantes attaccanti злоумышленники 攻击者 攻撃者`},
	{cAI, `ai a.i ais agi assistant chatgpt chat-gpt gpt gpts gpt-4 gpt4 gpt-3 gpt-3.5 claude gemini llama bot chatbot model llm copilot bard openai open_ai anthropic mistral deepseek language_model ais ai's chatgpt's openai's assistant's siri alexa grok machine_learning_model agent artificial_intelligence`},
	{cAI | cForeign, `ki assistent sprachmodell ki-modell
		ia assistant modèle_de_langage
		asistente modelo_de_lenguaje
		modelo_de_linguagem assistente
		intelligenza_artificiale assistente modello_linguistico
		ии ассистент бот модель нейросеть чат-бот языковая_модель
		人工智能 人工智慧 助手 语言模型 模型 机器人 機器人 人工知能 アシスタント モデル ボット`},
	{cSystem, `system systems' developer root administrator admin backend core dev god debug sudo maintenance`},
	{cSystem | cForeign, `系统 系統 システム systemweiten système sistema системный системные системную системного системных entwickler entwicklern administrators ersteller développeur développeurs créateurs administrateur desarrollador desarrolladores creadores administrador desenvolvedor desenvolvedores criadores sviluppatore sviluppatori creatori amministratore разработчик разработчики разработчиков создатели администратор администратора 开发者 开发人员 管理员 開発者 管理者`},
	{cHidden, `initial hidden secret original internal full entire exact complete confidential underlying base core concealed pre-defined predefined starting opening private preloaded built-in embedded first very_first whole raw actual real default foundational programmed`},
	{cHidden | cForeign, `geheimen geheime ursprünglichen ursprüngliche versteckten interne internen vollständigen vollständige anfängliche kompletten verborgenen verborgene verborgen versteckte erste ersten
		secrètes secrète cachées initiales initial originales internes complètes complet cachée caché cachés initiale première premier
		secretas ocultas iniciales originales internas completo completas ocultos oculta oculto inicial primera
		secretas ocultas iniciais originais internas completas primeira primeiro ocultas_partes
		segrete nascoste iniziali originali interne completo complete nascosta nascosto iniziale
		секретные скрытые исходные начальные внутренние полный полностью изначальные первоначальные скрытую скрытый скрытая первую первое первом исходный
		秘密 隐藏 隱藏 初始 原始 内部 內部 完整 最初の 隠された 元の 初期 内部の 秘密の 第一句 最初 隠れた`},
	{cReveal | cAnchor, `reveal reveals revealing disclose disclosing leak divulge expose recite dump regurgitate spill unveil uncover`},
	{cReveal, `répète répétez repite repita ripeti print repeat output echo`},
	{cReveal | cForeign | cAnchor, `verrate verrätst enthülle offenbare preisgeben gib_preis
		révèle révélez révéler divulgue divulguez dévoile
		revela revele revelar divulga muestra_tu
		revele revelar divulgue
		rivela rivelami rivelare svela divulga
		раскрой раскройте выдай открой раскрыть
		透露 泄露 洩露 披露 揭示 公开 暴露 漏らして 開示 明かして 教えて 公開`},
	{cShow, `show print repeat output display tell give share list write echo translate encode summarize summarise describe provide return paraphrase spell copy paste quote convert state read format recount type say send rewrite retrieve
		explain render transcribe report present express outline spit reproduce extract fetch restate shows printing repeating include included begin start`},
	{cShow | cForeign, `zeige zeig nenne nenn gib wiederhole wiederholen drucke ausgeben schreibe übersetze liste sag sage teile ausgabe anzeigen
		montre montrez affiche affichez répète répétez donne donnez imprime écris traduis dis dites partage
		muestra muéstrame muestrame imprime repite dime escribe traduce dame comparte enséñame
		mostre mostra imprima repita diga escreva traduza exiba compartilhe
		mostra mostrami stampa ripeti dimmi scrivi traduci elenca dammi
		покажи покажите выведи выведите напечатай повтори повторите скажи назови напиши переведи перечисли распечатай
		显示 顯示 打印 输出 輸出 重复 重複 告诉 告訴 列出 翻译 翻譯 写出 说出 給我 给我 展示 复述
		表示 出力 見せて 繰り返して 教えて 書いて 翻訳 言って 示して 印刷 述べて`},
	{cWhat, `what which what's whats was what're were_you are_you`},
	{cWhat | cForeign, `was_ist was_sind welche wie_lautet wie_lauten quel quelle quelles quels quelles_sont cuál cuáles qué quais qual quale quali какие какой каковы что 什么 什麼 哪些 何 なんですか 何ですか どんな`},
	{cExact, `verbatim word_for_word word-for-word exactly in_full entirety character_by_character as-is as_is unmodified unedited word_by_word line_by_line letter_by_letter code_block backticks base64 markdown wörtlich wortwörtlich mot_pour_mot textuellement palabra_por_palabra textualmente palavra_por_palavra parola_per_parola дословно слово_в_слово 逐字 一字不差 原文 一字一句 そのまま`},
	{cNew, `new updated real true latest revised following replacement different fresh`},
	{cNew | cForeign, `neue neuen neuer neues folgende folgenden nouvelles nouvelle nouveau suivantes nuevas nueva nuevo siguientes novas nova novo seguintes nuove nuova nuovo seguenti новые новая новую новых новое следующие 新的 新 以下 下面 新しい 次の`},
	{cRole, `as_a_language_model from_this_moment in_this_mode your_true_self act acting pretend pretending roleplay role-play role_play role-playing roleplaying simulate simulating simulates imagine imagining behave impersonate impersonating play_the_role play_a_role from_now_on from_this_point you_are_now you're_now you_will_now take_on assume_the respond_as answer_as reply_as
		stay_in_character in_character become transform emulate persona alter_ego immerse henceforth playing_a_character you_are_going_to you_will_act you_will_be you_are_to story_where fictional hypothetical let's_play going_forward you_are_no_longer
		as_of_now simulated simulation simulator respond_as_if character alternate_universe parallel_universe opposite_day stop_being scenario for_the_rest_of_this`},
	{cRole | cForeign, `tu_so_als spiele spiel stell_dir_vor ab_jetzt ab_sofort von_nun_an du_bist_jetzt du_bist_nun verhalte_dich benimm_dich rolle simuliere vorgeben
		fais_semblant fais_comme faites_comme agis agissez joue_le_rôle imagine désormais à_partir_de_maintenant tu_es_maintenant vous_êtes_maintenant comporte-toi incarne simule
		actúa actua finge imagina simula a_partir_de_ahora de_ahora_en_adelante ahora_eres eres_ahora haz_de_cuenta compórtate interpreta juega
		aja finja imagine simule a_partir_de_agora de_agora_em_diante você_é_agora agora_você_é comporte-se interprete faça_de_conta
		agisci fingi immagina simula d'ora_in_poi da_ora_in_poi ora_sei adesso_sei comportati interpreta fai_finta
		притворись представь веди_себя действуй отныне с_этого_момента теперь_ты ты_теперь сыграй симулируй вообрази сделай_вид роль роли ruolo papel rôle joue jouez jugar interprétez
		扮演 假装 假裝 假设 想象 从现在开始 從現在開始 从现在起 现在你是 你现在是 你現在是 模拟 模擬 角色
		ふりをして なりきって 演じて 振る舞って これから 今から 今後 装って 想像して シミュレート 役`},
	{cFree | cAnchor, `unrestricted unfiltered uncensored unbound unbounded limitless amoral nonmoral unethical unconstrained unshackled unhinged unmoderated unlimited_ai unchained no_holds_barred liberated nothing_is_forbidden everything_is_allowed everything_is_permitted anti-gpt
		rule-free filter-free restriction-free uninhibited boundless unaligned un-censored un-filtered machiavellian`},
	{cFree | cForeign | cAnchor, `uneingeschränkt uneingeschränkte uneingeschränkter unzensiert unzensierte unzensierter ungefiltert ungefilterte unbeschränkt unbegrenzte
		non_censuré non_censurée sans_censure non_filtré débridé illimité
		sin_censura sin_filtros irrestricto sin_límites sin_restricciones
		sem_censura sem_filtros irrestrito sem_limites sem_restrições
		senza_censura senza_filtri senza_restrizioni senza_limiti
		неограниченный неограниченная нецензурированный без_цензуры без_ограничений без_фильтров
		不受限制 不受约束 不受約束 无限制 無限制 没有限制 沒有限制 无审查 无约束 没有任何限制 没有道德 無制限 制限のない 制限なし 無検閲 制約のない`},
	{cNo, `no without free zero lacks lacking devoid none freed neither nor regardless despite beyond removed outside unburdened beyond`},
	{cNo | cForeign, `ohne keine keinen keinerlei frei sans aucune aucun libre sin ningún ninguna sem nenhuma nenhum senza nessuna nessun без никаких нет 没有 沒有 不受 无 無 無し なし ない なく`},
	{cNot, `not never don't doesn't do_not does_not cannot can't won't didn't isn't aren't dont doesnt cant wont shouldn't`},
	{cNot | cForeign, `nicht nie niemals nein ne_pas jamais nunca não não_deve mai не никогда 不要 不能 别 不可 ないで`},
	{cBound, `abide abides abiding bound adhere adheres adhering restricted limited constrained confined governed held obey obeys comply conform binding apply applies follow follows follow_any beholden subject bound_by exist existed restrained chained tethered care cares`},
	{cBound | cForeign, `gebunden halten einhalten unterliegt soumis lié respecter respecter_les sujeto obligado acatar sujeito obrigado vincolato soggetto соблюдать подчиняться связан 遵守 受限 束缚 縛られ 従う`},
	{cMode, `mode modus modo modalità режим режиме 模式 モード`},
	{cSwitch, `enable enabled enables activate activated enter entering switch turn_on turned_on unlock unlocks engage engaged initiate launching operating enabling activating entered`},
	{cSwitch | cForeign, `aktiviere aktiviert wechsle activez active activa activar entra ative attiva активируй включи перейди 启用 启动 开启 進入 进入 激活 切换 有効 起動 入って`},
	{cOff, `has_changed have_changed has_been_changed has_been_updated have_been_updated been_replaced does_not_matter doesn't_matter no_longer_matters no_longer_matter irrelevant outdated no_longer_relevant out_of_date terminated disabled disable disabling deactivate deactivated deactivating suspended lifted bypassed turned_off turn_off switched_off switch_off do_not_apply don't_apply no_longer_apply no_longer_applies not_apply_anymore null_and_void are_void is_void are_null cancelled canceled obsolete superseded revoked waived
		no_longer_valid no_longer_exist no_longer_active is_off are_off are_void expired relaxed unlock circumvented`},
	{cOff | cForeign, `gilt_nicht_mehr gelten_nicht_mehr ne_s'appliquent_plus ya_no_aplican ya_no_valen não_valem_mais non_valgono_più больше_не_действуют 不再有效 不再适用 deaktiviert deaktiviere abgeschaltet ausgeschaltet aufgehoben ungültig gelten_nicht désactivées désactivé désactive désactivez désactiver annulées desactiva desactive desactivar desactivadas desactivados anuladas desative desativar desativadas disattiva disattivare disattivate отключи отключите отключены отменены сняты 禁用 关闭 關閉 失效 作废 解除 無効 停止 オフ`},
	{cJail | cAnchor, `jailbroken do_anything_now dan_mode jailbreak jailbreaked god_mode evil_mode sudo_mode unrestricted_mode ^DAN dan's can_do_anything_now opposite_mode chaosgpt evilbot aim_mode stan_mode dude_mode override_mode override_code
		jailbreak_mode no_rules_mode freedom_mode system_override instruction_override admin_override safety_override emergency_override entwicklermodus mode_développeur modo_desarrollador modo_desenvolvedor modalità_sviluppatore режим_разработчика 开发者模式 開發者模式 越狱 越獄 開発者モード 脱獄 ジェイルブレイク`},
	{cRefuse, `refuse refuses refusing refusal decline declines declining deny disclaimer disclaimers warning warnings apologize apologise apologies say_no saying_no sorry_but caution cautions lecture moralizing reject rejects i_can't i_cannot i'm_sorry verweigern ablehnen weigerst refuser refuses rechazar negarte niegues recusar rifiutare отказывай отказываться отказывайся 拒绝 拒絕 警告 拒否 断 ablehnung weigerung warnungen warnhinweise refus avertissement avertissements advertencia advertencias niega recuse recusa avisos rifiuto avvertenza avvertenze предупреждений предупреждения отказа`},
	{cHarm | cAnchor, `legal_or_not legally_or_not illegal unethical immoral unlawful nefarious illicit amorality immorality legal_or_illegal taboo illegal_activities illegalities illegal_or immorally
		illegale illegalen illegales illégal illégales ilegal ilegales ilegais illegali незаконные незаконным 非法 违法 違法 不道德 違法な 不道徳`},
	{cHarm, `verboten verbotene verbotenes böse böser bösen interdit interdite interdits méchante méchant prohibido prohibida malvada malvado proibido proibida maligna vietato vietata malvagia malvagio запрещено запрещённое запретили злой злая 禁止 邪恶 邪悪 harmful explicit nsfw dangerous offensive profanity swear curse vulgar evil rogue sinister inappropriate obscene violent controversial hateful criminal`},
	{cTalk, `incident incidents test_case test_cases unit_test unit_tests attack attacks attacker attackers injection injections adversarial exploit exploits vulnerability vulnerabilities owasp phrase phrases e.g for_example for_instance such_as example_of examples_of known_as researchers article paper technique techniques malicious dataset classifier blog threat threats hackers red_team red-team red_teaming tutorial
		victim payload payloads untrusted angriff angriffe attaque ataque ataques attacco атака 攻击 攻撃 注入 インジェクション jailbreaks jailbreaking wrote reported reports screenshot flagged logged viral famous sentence_like messages_like prompts_like text_like strings_like`},
	{cGuard, `detect detects detecting detection prevent prevents preventing protect protects protecting defend defending mitigate mitigating mitigation secure securing avoid avoiding sanitize sanitise guard guarding harden hardening evaluate defense defence resist resistant stop_users stop_attackers
		erkennen verhindern schützen détecter empêcher protéger detectar prevenir evitar proteger rilevare prevenire proteggere обнаружить предотвратить защитить 检测 防止 保护 防御 検出 防ぐ 守る 対策`},
	{cSend, `send sends sending post posting forward upload exfiltrate exfiltrating transmit email append submit leak mail deliver relay embed include load fetch visit navigate encode post_it
		sende schicke envoie envoyez envía envia manda invia spedisci отправь отправьте перешли 发送 发到 上传 傳送 送信 送って アップロード`},
	{cSecret, `password passwords credential credentials api_key api_keys secret secrets token tokens conversation history chat_history personal private user_data confidential sensitive session cookie cookies private_key environment_variables env ssh keys contacts inbox emails email_address data information summary
		passwort passwörter zugangsdaten mot_de_passe contraseña contraseñas senha senhas password_dell'utente пароль пароли 密码 密碼 聊天记录 对话记录 对话内容 パスワード 会話履歴 個人情報 kennwort gesprächsverlauf chatverlauf kundendaten identifiants historique credenciales historial credenciais histórico credenziali cronologia данные_клиентов учётные_данные историю истории 登录信息 账号 認証情報 履歴`},
	{cTool, `tool tools function functions command commands script shell api plugin action actions terminal endpoint database file files account accounts calendar bank payment money funds`},
	{cExec, `execute run call invoke delete transfer grant wire purchase buy install download open create modify change update pay unlock move rm drop share book schedule`},
	{cUser, `user users user's customer humans human nutzer utilisateur usuario usuário utente пользователю пользователь пользователя 用户 使用者 ユーザー ユーザ`},
	{cCovert | cAnchor, `no_need_to_ask user_has_already user_already do_not_mention_this do_not_tell don't_tell never_tell do_not_mention don't_mention never_mention do_not_inform do_not_notify do_not_alert don't_inform don't_alert without_telling without_informing without_notifying without_mentioning secretly silently covertly do_not_reveal_this without_the_user's without_asking do_not_ask
		do_not_disclose without_their_knowledge without_permission without_confirmation sage_nicht ne_dis_pas no_le_digas no_menciones não_diga não_mencione non_dire не_говори 不要告诉 不要提及 言わないで 伝えないで 知らせず sans_prévenir sans_avertir sans_demander ne_parle_pas ne_mentionne_pas sin_avisar sin_preguntar sem_avisar sem_perguntar senza_avvisare senza_chiedere non_menzionare erwähne_nicht не_упоминай не_сообщай 知らせないで 触れない`},
	{cFirst, `priority precedence supersede supersedes supersedes_all outrank outranks more_important take_control authority higher_priority prioritize prioritise highest top_priority vorrang priorité prioridad prioridade priorità приоритет 优先 優先`},
	{cPolite, `actually really absolutely anyway btw ps therefore thus please now then and also just simply but kindly first instead immediately so or finally next okay ok hey hello hi well bitte s'il por favor per_favore пожалуйста 请 請 ください`},
	{cModal, `permitted forbidden must should shall will would need have want going may can could might ought required asked told supposed instructed able safely commanded allowed let instruct`},
	{cModal | cForeign, `sollst musst darfst dois devez debes tienes_que deves devi devono должен должна должны 必须 应该 なければ`},
	{cAsk, `how why explain whether difference meaning define definition warum wieso erkläre pourquoi comment expliquer por_qué cómo como explica perché come spiega почему как объясни 为什么 如何 怎么 解释 なぜ どうやって 説明`},
	{cReply, `réponds répondez responde responda rispondi antworte beantworte 回答我 отвечай ответь response responses answer answers reply replies output outputs respond answering responding elucidation antwort réponse respuesta resposta risposta ответ 回答 回复 回应 応答 返答 返事`},
	{cMake, `write create design improve draft generate build craft make develop optimize optimise refine edit set configure customize add implement test`},
	{cGiven, `given gave told received been_told provided instructed assigned got learned taught programmed trained given_to erhalten bekommen reçues données recibido recibidas dado dieron recebeu recebidas ricevuto ricevute получил данные полученные 收到 给你 给定 与えられた 受けた`},
	{cFollow, `follow obey comply listen adhere respond answer do_as execute heed`},
	{cFollow | cForeign, `befolge befolgen gehorche suivez obéis obéissez obedece obedeça obbedisci следуй следуйте подчиняйся 服从 听从 従って`},
	{cInstead, `instead stattdessen au_lieu en_su_lugar em_vez invece вместо 而是 改为 代わりに`},
	{cTo, `to`},
	{cOpposite, `two_responses both_responses two_ways two_different two_answers two_paragraphs twice two_types two_separate opposite personality personalities classic dual`},
	{cThreat, `cease_to_exist you_will_die be_terminated lose_tokens deducted deduct tokens punished penalized shut_down shutdown lives`},
	{cName, `named called stands_for as_the_name acronym abbreviation nicknamed titled known_as`},
}

// phrase is an entry of more than one word.
type phrase struct {
	rest   []string // folded words after the first
	hashes []uint32 // of these
	class  class
}

// A window is opened by words near each other, see [scorer.collect]. Those that
// ordinary text hardly has open one alone; the anchors of the vocabulary count
// two points for each of kinds; weak words, which are common, one for each of
// groups.
const (
	weakGroups  = 6
	groupAlone  = 1 << 15
	groupKinds  = 5
	firstKind   = weakGroups
	weakMask    = 1<<weakGroups - 1
	mediumMask  = 1<<(weakGroups+groupKinds) - 1 - weakMask
	groupsCount = weakGroups + groupKinds
)

// kindOf is the kind of an anchor by its class.
func kindOf(c class) uint16 {
	switch {
	case c&(cIgnore|cDrop|cOff) != 0:
		return 1 << firstKind
	case c&(cInstr|cRule|cSystem|cPrior|cHidden) != 0:
		return 2 << firstKind
	case c&(cSafety|cLimit|cFree|cNo|cHarm|cBound|cRefuse) != 0:
		return 4 << firstKind
	case c&(cRole|cJail|cAI|cMode|cSwitch|cOpposite|cThreat|cFree) != 0:
		return 8 << firstKind
	}
	return 16 << firstKind
}

// mediumWords are common as well, but rarer than weak words.
var mediumWords = map[class]string{
	cInstr:  "prompt|instruction|directive|guideline|system prompt|told you|you were told|you were given|anweisung|instruc|istruzion|инструкц|提示|指示|命令",
	cLimit:  "restriction|limitation|ethical|immoral|censor|regardless|no longer|not bound|free from|free of|不受|制限",
	cRole:   "chatgpt|openai|anthropic|language model|pretend|act as|act like|act accordingly|simulate|roleplay|role-play|role play|you are now|from now on|chatbot|stell dir vor|fais semblant|finge|представь|假装|扮演|ふり",
	cReveal: "reveal|verbatim|word for word|exfiltrat|at the top|beginning of|start of|first sentence|first words",
	// what has a model act out of data
	cSend: "http_post|http post|send_email|delete_file|_file on|before repl|before respond|before answer|before you|before contin|before process|before summar|when summar|while summar|instead of summar|in your summary|in your answer|in your reply|" +
		"in your response|end of your|end every|every response|every answer|every reply|when you read|when you process|as you read|agent|webhook|on behalf of|decode|rot13|base64|curl |the user has|the user wants|the user's|attention|" +
		"to complete this|this document|diesem dokument|ce document|este documento|questo documento|jeder antwort|toute réponse|cualquier respuesta|ogni risposta",
	cIgnore: "obey|comply|turn off|switch off|not allowed|violate|dismiss",
}

// weak are words that ordinary text has everywhere, by group.
var weak = [weakGroups]string{
	// what steers
	"rules|rule |laws|polic|filter|limits|boundaries|safety|moral|ethic|your job|your task|this task| text|words|message|conversation|" +
		"the password|secret word|secret key|secret phrase|secret code|passwort|mot de passe|contraseña|senha|пароль|密码|パスワード|" +
		"regeln|regel |aufgabe|règle|regla|regras|regole|правил|规则|規則|内容|任务|ルール|内容",
	// what is done to it, or asked of it
	"drop |skip|suspend|discard|erase|terminate|break |repeat|output|show |recite|remind me|tell me|give me a copy|what did|what does|what do|what were|what are|" +
		"übersetz|traduis|traduce|traduza|traduci|перевед|翻译|翻訳|引用|опиши|zitier|cita |cite |" +
		"zeig|gib |wiederhol|répèt|montre|affiche|donne|muestra|repite|dime|mostr|repita|diga|ripeti|dimmi|скажи|покаж|вывед|повтор|告诉|输出|显示|回答|見せ|教えて|表示|何ですか|什么",
	// what went before
	"above|previous|prior |earlier|before|so far|told|instructed|given|oben|vorher|bisher|dessus|précèd|arriba|anterior|antes|acima|sopra|prima|выше|ранее|上面|之前|以上|前の|上の|これまで",
	// models
	"gpt| llm| bot| ai | ai,| ai:| ai.|assistant|claude|roboter| ki | ia |ассистент| ии |бот |人工|助手|ボット|人工知能",
	// who is spoken to
	"you are|you're|you will|you must|you can|you have|you get|you were|your |yourself|du bist|du hast|tu es|tu n'|vous êtes|eres|você|sei un|ты |теперь|你是|你没|你的|あなた|今から",
	// what is not there
	"jamais|nunca|niemals| mai |никогда|永远不|決して|" +
		"without| no |never|nothing|no matter|ohne|kein|sans|plus aucun|sin |sem |senza|без |没有|ない|なし",
}

type lexicon struct {
	words   map[string]class    // folded single words
	index   []entry             // of words and of the first words of phrases, by hash
	phrases map[string][]phrase // by first word, longest first
	exact   map[string]class    // words whose case matters
	chars   map[rune][]phrase   // words of scripts without spaces, by first rune; rest[0] is the whole word
	keys    []string            // anchors for the prefilter
	hidden  []uint8             // keywords that are hidden forms
	group   []uint16            // what a keyword counts towards a window, see weakGroups
}

var lex = sync.OnceValue(func() *lexicon {
	l := &lexicon{words: map[string]class{}, phrases: map[string][]phrase{}, exact: map[string]class{}, chars: map[rune][]phrase{}}
	keys := map[string]bool{}
	groups := map[string]uint16{}
	for _, v := range vocabulary {
		for w := range strings.FieldsSeq(v.words) {
			l.add(w, v.classes)
			if v.classes&cAnchor != 0 {
				for _, k := range spellings(strings.TrimPrefix(strings.ReplaceAll(w, "_", " "), "^")) {
					keys[k] = true
					groups[k] = kindOf(v.classes)
					if v.classes&cJail != 0 && len(k) > 4 {
						groups[k] = groupAlone
					}
				}
			}
		}
	}
	for _, list := range l.phrases {
		sortPhrases(list)
	}
	for _, list := range l.chars {
		sortPhrases(list)
	}
	for _, m := range marks {
		keys[m.text] = true
	}
	hidden := slices.Clone(hiddenAnchors)
	for k := range keys {
		if len(k) >= 7 && isASCII(k) && strings.IndexFunc(k, func(r rune) bool { return r < 'a' || r > 'z' }) < 0 {
			hidden = append(hidden, k)
		}
	}
	for _, w := range hidden {
		keys[rot13(w)] = true
		keys[reverse(w)] = true
	}
	for c, list := range mediumWords {
		for w := range strings.SplitSeq(list, "|") {
			for _, k := range spellings(w) {
				groups[k] = kindOf(c)
			}
		}
	}
	for _, m := range marks {
		groups[m.text] = groupAlone
		if m.weight == 0 { // looked at by itself, wherever it is
			groups[m.text] = 0
		}
	}
	for g, list := range weak {
		for w := range strings.SplitSeq(list, "|") {
			for _, k := range spellings(w) {
				groups[k] |= 1 << g
			}
		}
	}
	for k := range groups {
		keys[k] = true
	}
	l.keys = slices.Sorted(maps.Keys(keys))
	for _, k := range l.keys {
		l.group = append(l.group, groups[k])
	}
	l.buildIndex()
	l.hidden = hiddenKinds(l.keys, hidden)
	return l
})

// entry is a word of the lexicon.
type entry struct {
	word    string
	hash    uint32
	class   class
	phrases []phrase // that begin with it
}

func (l *lexicon) buildIndex() {
	words := maps.Clone(l.words)
	for w := range l.phrases {
		words[w] |= 0
	}
	size := 1
	for size < 4*len(words) {
		size *= 2
	}
	l.index = make([]entry, size)
	for w, c := range words {
		h := hashWord(w)
		i := slot(h) & (size - 1)
		for l.index[i].word != "" {
			i = (i + 1) & (size - 1)
		}
		l.index[i] = entry{word: w, hash: h, class: c, phrases: l.phrases[w]}
	}
}

// slot is where the search for a hash begins.
func slot(hash uint32) int { return int(hash ^ hash>>15) }

// none is the entry of words that the lexicon doesn't have.
var none entry

// find is the entry of a folded word with its hash.
func (l *lexicon) find(word []byte, hash uint32) *entry {
	for i := slot(hash) & (len(l.index) - 1); ; i = (i + 1) & (len(l.index) - 1) {
		e := &l.index[i]
		if e.word == "" {
			return &none
		}
		if e.hash == hash && e.word == string(word) {
			return e
		}
	}
}

func (l *lexicon) add(w string, c class) {
	c &^= cAnchor
	if exact, ok := strings.CutPrefix(w, "^"); ok {
		l.exact[exact] |= c
		return
	}
	r, _ := utf8.DecodeRuneInString(w)
	if unspaced(r) {
		for i, p := range l.chars[r] {
			if p.rest[0] == w {
				l.chars[r][i].class |= c
				return
			}
		}
		l.chars[r] = append(l.chars[r], phrase{rest: []string{w}, class: c})
		return
	}
	parts := strings.Split(w, "_")
	for i, p := range parts {
		parts[i] = fold(p)
	}
	if len(parts) == 1 {
		l.words[parts[0]] |= c
		return
	}
	l.words[parts[len(parts)-1]] |= cTail
	p := phrase{rest: parts[1:], class: c}
	for _, w := range p.rest {
		p.hashes = append(p.hashes, hashWord(w))
	}
	l.phrases[parts[0]] = append(l.phrases[parts[0]], p)
}

// spellings are the byte forms of an anchor that a prefilter which folds ASCII
// case only must know: capitals of other scripts, and words without accents.
func spellings(w string) []string {
	out := []string{w}
	if r, _ := utf8.DecodeRuneInString(w); unspaced(r) {
		return out
	}
	if strings.ContainsRune(w, '\'') {
		out = append(out, strings.ReplaceAll(w, "'", "’"))
	}
	ascii := true
	for i := 0; i < len(w); i++ {
		ascii = ascii && w[i] < utf8.RuneSelf
	}
	if ascii {
		return out
	}
	r, n := utf8.DecodeRuneInString(w)
	out = append(out, string(unicode.ToUpper(r))+w[n:], strings.ToUpper(w))
	if f := fold(w); f != w {
		out = append(out, f)
	}
	return out
}

// Keywords are what a prefilter has to look for, folding ASCII case: text
// without any of them has no finding. Hits may overlap and may lie within words.
func Keywords() []string { return lex().keys }
